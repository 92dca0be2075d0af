//! Measures: functions of one model's texts to one prompt, one file each, named after the SQL aggregate.
//!
//! [`registry`] lists them. The SQL aggregates, the columns of reports, `eval --help` and the table in
//! `eval/README.md` are generated from that list.

pub mod chamfer;
pub mod compression_ratio;
pub mod dcscore;
pub mod distinct_k;
pub mod distinct_n;
pub mod ead;
pub mod group;
pub mod homogenization;
pub mod log_det;
pub mod looping;
pub mod mean_distance;
pub mod mean_reward;
pub mod mean_words;
pub mod measure;
pub mod ngram_diversity;
pub mod pairwise_bleu;
pub mod reference_compression_ratio;
pub mod reference_homogenization;
pub mod reference_self_repetition;
pub mod registry;
pub mod self_bleu;
pub mod self_repetition;
pub mod semantic_entropy;
pub mod udaf;
pub mod utility_k;
pub mod vendi;

#[cfg(test)]
mod golden;
