//! Correlation: p-value of Spearman's rho, Kendall's tau (scipy: `spearmanr`, `kendalltau`); r and rho are
//! in `polyphony_io::correlation`.

use super::mean::two_sided_t;

/// The two-sided p-value of Spearman's rho of `n` pairs by Student's t distribution (scipy: `spearmanr`). `None`
/// below ten pairs, where the approximation is inaccurate.
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

/// Kendall's tau-b, -1 to 1: concordant minus discordant pairs, over the geometric mean of the numbers of pairs
/// that are not tied in `a` and in `b` (scipy: `kendalltau`). `None` where one side is constant.
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
