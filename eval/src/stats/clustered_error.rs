//! Clustered standard error: the standard error of a mean of values that are correlated within groups.

use super::mean::mean;

/// The standard error of the mean of all N values, clustered by C groups (C > 1): sqrt(C / (C - 1) * the sum over
/// groups of the squared sum of residuals) / N (Miller 2024; `inspect_ai`, `scorer/_metrics/std.py`).
pub fn se_clustered(groups: &[&[f64]]) -> f64 {
    let all: Vec<f64> = groups
        .iter()
        .flat_map(|group| group.iter().copied())
        .collect();
    let mean = mean(&all);
    let sum_of_residuals = |group: &&[f64]| group.iter().map(|value| value - mean).sum::<f64>();
    let squares: f64 = groups
        .iter()
        .map(|group| sum_of_residuals(group).powi(2))
        .sum();
    let c = groups.len() as f64;
    (squares * c / (c - 1.0)).sqrt() / all.len() as f64
}
