//! The engine of Polyphony: raw stories in, weighted preference pairs out, with SQL for all steps
//! between.

/// Deviation of vectors: the mean cosine distance to the others.
pub mod deviation;
/// DPP selection: greedy MAP inference of a determinantal point process.
pub mod dpp;
/// Embedders: texts to vectors.
pub mod embed;
/// SQL expressions of the command line.
pub mod expression;
/// SQL functions.
pub mod functions;
/// Ingestion of dumps and data sets.
pub mod ingest;
/// Embedding jobs over a store or a file.
pub mod jobs;
/// JSON lines files in SQL.
pub mod json_lines;
/// Nearest distance of vectors: the cosine distance to the most similar other one.
pub mod nearest_distance;
/// Pairs pipeline: weighted preference pairs from a store.
pub mod pairs;
/// Row tables: local files as tables in SQL.
pub mod row_table;
/// Table schemas.
pub mod schema;
/// SQL sessions over a store.
pub mod session;
/// SQL pipelines.
pub mod sql;
/// The store: tables as Parquet parts under one manifest.
pub mod store;
mod verified_table;
/// Weights for the rows of a preference file.
pub mod weigh;
/// Weights of pairs.
pub mod weight;

pub use polyphony_io::{Error, Result};

/// Re-export of DataFusion for the crates above the engine.
pub use datafusion;

#[cfg(test)]
#[expect(dead_code, reason = "the model crate's tests use the rest")]
#[path = "../../tests/support/fixtures.rs"]
mod fixtures;
#[cfg(test)]
mod golden;
