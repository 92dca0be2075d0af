//! What do measurements of prompts say about models? Pure functions on slices, one value a prompt.

pub mod agreement;
pub mod bootstrap;
pub mod clustered;
pub mod correction;
pub mod correlation;
pub mod ellipse;
pub mod mean;
pub mod pareto;
pub mod permutation;
pub mod proportions;
pub mod rank;
pub mod sign_test;
pub mod wilcoxon;

#[cfg(test)]
mod golden;
