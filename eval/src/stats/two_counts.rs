//! Tests of two counts: z-test of two proportions (statsmodels: `proportions_ztest`) and Fisher's exact test.

use statrs::stats_tests::{Alternative, fishers_exact};

use super::mean::two_sided_normal;

/// Two-sided p of the pooled z-test of two proportions, `a` and `b` of `of` each: the test that the paper's
/// p-values fit. It takes both counts for independent samples.
pub fn two_proportions(a: usize, b: usize, of: usize) -> f64 {
    let of = of as f64;
    let (a, b) = (a as f64 / of, b as f64 / of);
    let pooled = f64::midpoint(a, b);
    let se = (pooled * (1.0 - pooled) * 2.0 / of).sqrt();
    if se == 0.0 {
        1.0
    } else {
        two_sided_normal((a - b) / se)
    }
}

/// Two-sided p of Fisher's exact test of the table `[[a, of - a], [b, of - b]]` (scipy: `fisher_exact`).
pub fn fisher(a: usize, b: usize, of: usize) -> f64 {
    let table = [a, of - a, b, of - b].map(|count| count as u64);
    let p = fishers_exact(&table, Alternative::TwoSided);
    p.map_or(f64::NAN, |p| p.min(1.0))
}
