//! Dataset: a file's rows as tokens, batches of them, and which batch each step takes.

/// Examples: what is learned from one row.
pub mod example;

mod rows;

/// The reader: rows of a file to examples.
pub mod reader;

/// Score transform: votes to targets from -1 to 1.
pub mod score_transform;

/// Counts of rows by what became of them.
pub mod counts;

/// A batch: texts that go through the model together.
pub mod batch;

/// The batch schedule: which examples each step takes.
pub mod batch_schedule;

pub use example::{Example, Examples};
