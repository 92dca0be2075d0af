//! Correlation: Pearson's r, Spearman's rho, Kendall's tau (scipy: `pearsonr`, `spearmanr`, `kendalltau`).

use super::mean::{mean, two_sided_t};
use super::rank::ranks;

/// Pearson's r. None where a side does not vary.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let pairs = || a.iter().zip(b).map(|(x, y)| (x - mean_a, y - mean_b));
    let covariance: f64 = pairs().map(|(x, y)| x * y).sum();
    let squares_a: f64 = pairs().map(|(x, _)| x * x).sum();
    let squares_b: f64 = pairs().map(|(_, y)| y * y).sum();
    let r = covariance / (squares_a * squares_b).sqrt();
    r.is_finite().then_some(r.clamp(-1.0, 1.0))
}

/// Spearman's rho: Pearson's r of the ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

/// The two-sided p of Spearman's rho of `n` pairs by Student's t, as scipy's `spearmanr`. None below ten
/// pairs, where the approximation is bad.
pub fn spearman_p(rho: f64, n: usize) -> Option<f64> {
    let freedom = n as f64 - 2.0;
    if n < 10 {
        return None;
    }
    if rho.abs() >= 1.0 {
        return Some(0.0);
    }
    two_sided_t(rho * (freedom / (1.0 - rho * rho)).sqrt(), freedom)
}

/// Kendall's tau-b: agreeing less disagreeing pairs, over pairs that are no ties.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut balance, mut untied_a, mut untied_b) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let order = |values: &[f64]| {
                let order = values[i].total_cmp(&values[j]);
                f64::from(order as i8)
            };
            let (x, y) = (order(a), order(b));
            balance += x * y;
            untied_a += x.abs();
            untied_b += y.abs();
        }
    }
    let tau = balance / f64::sqrt(untied_a * untied_b);
    tau.is_finite().then_some(tau)
}
