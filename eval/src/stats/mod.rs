//! Statistics of values per prompt: confidence intervals, significance tests, corrections for multiple testing,
//! correlations. Pure functions on slices, tested against golden values of scipy and statsmodels.

pub mod bootstrap;
pub mod cluster_bootstrap;
pub mod clustered_error;
pub mod correlation;
pub mod ellipse;
pub mod exchange_test;
pub mod krippendorff_alpha;
pub mod log_odds;
pub mod mean;
pub mod multiple_testing;
pub mod pareto;
pub mod permutation;
pub mod proportion;
pub mod sign_test;
pub mod ties;
pub mod two_counts;
pub mod two_level;
pub mod wilcoxon;

#[cfg(test)]
mod golden;
