//! Wilcoxon's signed-rank test of paired differences (scipy: `wilcoxon`).

use super::mean::two_sided_normal;
use polyphony_io::correlation::ranks;

use super::ties::ties;

/// The largest number of differences for which the exact distribution is computed.
const EXACT: usize = 100;

/// The result of Wilcoxon's signed-rank test (Wilcoxon 1945; scipy: `wilcoxon`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// The statistic: the smaller one of the rank sums of positive and negative differences.
    pub w: f64,
    /// The two-sided p-value: exact up to 100 differences, also with ties; else equal to `p_normal`.
    pub p: f64,
    /// The two-sided p-value by the normal approximation, with correction for ties, without one for continuity.
    pub p_normal: f64,
}

/// Wilcoxon's signed-rank test of paired differences; zeros are dropped. `None` if all differences are zero.
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    let nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if nonzero.is_empty() {
        return None;
    }
    let sizes: Vec<f64> = nonzero.iter().map(|difference| difference.abs()).collect();
    let ranks = ranks(&sizes);
    let up: f64 = ranks
        .iter()
        .zip(&nonzero)
        .filter(|(_, d)| **d > 0.0)
        .map(|(r, _)| r)
        .sum();
    let n = nonzero.len() as f64;
    let total = n * (n + 1.0) / 2.0;
    let w = up.min(total - up);
    let cubes = ties(&sizes)
        .into_iter()
        .map(|size| (size.pow(3) - size) as f64);
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - cubes.sum::<f64>() / 48.0;
    let p_normal = two_sided_normal((w - total / 2.0) / variance.sqrt());
    let p = if nonzero.len() <= EXACT {
        exact(&ranks, w)
    } else {
        p_normal
    };
    Some(Wilcoxon { w, p, p_normal })
}

/// The exact two-sided p-value: twice the share of the 2^n sign assignments with a rank sum of at most `w`,
/// clamped to 1. Tied ranks are multiples of 1/2, so the dynamic program runs over doubled ranks, which are
/// integers.
fn exact(ranks: &[f64], w: f64) -> f64 {
    let max_sum = (2.0 * w).round() as usize;
    let mut ways = vec![0.0_f64; max_sum + 1];
    ways[0] = 1.0;
    for rank in ranks {
        let rank = (2.0 * rank).round() as usize;
        for sum in (rank..=max_sum).rev() {
            ways[sum] += ways[sum - rank];
        }
        // Halve at each step, so that the counts remain probabilities and do not overflow.
        for ways in &mut ways {
            *ways *= 0.5;
        }
    }
    f64::min(2.0 * ways.iter().sum::<f64>(), 1.0)
}
