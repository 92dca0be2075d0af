//! The engine of Polyphony: what it holds, in the order in which the data flows.

/// From texts to vectors.
pub mod embed;
pub mod error;
/// From prompts to texts that a model writes.
pub mod generate;
/// By what bytes are known.
pub mod hash;
/// Raw files become tables.
pub mod ingest;
/// Files of JSON lines, for SQL.
pub mod json_lines;
/// What comes from outside: the hub, tokenizers.
pub mod model;
/// From responses to weighted preference pairs.
pub mod pairs;
/// How long work tells how far it is.
pub mod progress;
/// Random numbers that are the same everywhere.
pub mod random;
/// The columns of every table.
pub mod schema;
/// The session that knows the store's tables and all functions.
pub mod session;
/// The pipeline's SQL files, and how they run.
pub mod sql;
/// Where tables live.
pub mod store;
/// The SQL functions.
pub mod udf;
/// Pure maths on vectors.
pub mod vector;

pub use error::{Error, Result};

/// DataFusion as the engine uses it, for those who build on it.
pub use datafusion;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod golden;
