//! Wilcoxon's signed-rank test of paired differences (scipy: `wilcoxon`).

use super::mean::two_sided_normal;
use polyphony_io::correlation::ranks;

use super::ties::ties;

/// Up to so many differences the distribution is computed, above it is taken as normal.
const EXACT: usize = 100;

/// Wilcoxon's test of paired differences; zeros are left out (Wilcoxon 1945; scipy: `wilcoxon`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// The smaller of both sums of ranks.
    pub w: f64,
    /// Two-sided: exact up to a hundred differences, ties included; else by the normal distribution.
    pub p: f64,
    /// Two-sided by the normal distribution, corrected for ties, not for continuity.
    pub p_normal: f64,
}

/// The test. None where no difference is other than zero.
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    let kept: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if kept.is_empty() {
        return None;
    }
    let sizes: Vec<f64> = kept.iter().map(|difference| difference.abs()).collect();
    let ranks = ranks(&sizes);
    let up: f64 = ranks
        .iter()
        .zip(&kept)
        .filter(|(_, d)| **d > 0.0)
        .map(|(r, _)| r)
        .sum();
    let n = kept.len() as f64;
    let total = n * (n + 1.0) / 2.0;
    let w = up.min(total - up);
    let cubes = ties(&sizes)
        .into_iter()
        .map(|size| (size.pow(3) - size) as f64);
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - cubes.sum::<f64>() / 48.0;
    let p_normal = two_sided_normal((w - total / 2.0) / variance.sqrt());
    let p = if kept.len() <= EXACT {
        exact(&ranks, w)
    } else {
        p_normal
    };
    Some(Wilcoxon { w, p, p_normal })
}

/// The share of the 2^n choices of signs whose sum of ranks is as small as `w`, doubled. Ranks of
/// ties are halves: twice the ranks are whole.
fn exact(ranks: &[f64], w: f64) -> f64 {
    let most = (2.0 * w).round() as usize;
    let mut ways = vec![0.0_f64; most + 1];
    ways[0] = 1.0;
    for rank in ranks {
        let rank = (2.0 * rank).round() as usize;
        for sum in (rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
        // Halved as they grow, so that they stay probabilities.
        for ways in &mut ways {
            *ways *= 0.5;
        }
    }
    f64::min(2.0 * ways.iter().sum::<f64>(), 1.0)
}
