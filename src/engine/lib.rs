//! The engine of Polyphony: what it holds, in the order in which the data flows.

pub mod error;
/// How long work tells how far it is.
pub mod progress;
/// The columns of every table.
pub mod schema;
/// Raw files become tables.
pub mod ingest;
/// Where tables live.
pub mod store;
/// What comes from outside: the hub, tokenizers.
pub mod model;
/// The session that knows the store's tables and all functions.
pub mod session;
/// The SQL functions.
pub mod udf;
/// The pipeline's SQL files, and how they run.
pub mod sql;
/// From texts to vectors.
pub mod embed;
/// Pure maths on vectors.
pub mod vector;
/// From responses to weighted preference pairs.
pub mod pairs;

pub use error::{Error, Result};

/// DataFusion as the engine uses it, for those who build on it.
pub use datafusion;
