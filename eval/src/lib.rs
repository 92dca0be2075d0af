//! The judgement of Polyphony: what it holds, in the order in which the data flows.

/// The measures that a report shows.
pub mod catalogue;
/// How many texts of each model count.
pub mod choose;
/// Which of two models has more of a measure.
pub mod compare;
/// Every measure of every model at every prompt.
pub mod evaluate;
/// Whether different models say the same.
pub mod likeness;
/// What is measured of the texts to one prompt.
pub mod measure;
/// What models wrote, read from files.
pub mod outputs;
/// What people read.
pub mod report;
/// Whether rewards compare.
pub mod rewards;
/// What measurements of prompts say about models.
pub mod statistics;
/// What people prefer: blinded sheets, and what their answers say.
pub mod study;
/// What a measure says of a model.
pub mod summary;
/// The measures as SQL aggregates.
pub mod udf;
/// The texts' vectors.
pub mod vectors;
/// How texts are cut into words.
pub mod words;
