//! Dataset: rows of a file as tokens, packed batches, the batch schedule.

/// Examples: the tokens of one row, with its weight or score.
pub mod example;

mod rows;

/// The reader: rows of a file to examples.
pub mod reader;

/// Score transform: votes to targets from -1 to 1.
pub mod score_transform;

/// Counts of rows: trained on, held out, dropped, truncated, duplicates.
pub mod counts;

/// Weight statistics: mean weight, pairs of weight 0.
pub mod weight_stats;

/// A batch: texts that go through the model together.
pub mod batch;

/// The batch schedule: which examples each step takes.
pub mod batch_schedule;

pub use example::{Example, Examples};
