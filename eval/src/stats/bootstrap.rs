//! Bootstrap: confidence intervals of means by studentised resamples of prompts (bootstrap-t).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use polyphony_io::random::SplitMix64;

use super::mean::{mean, se, t_quantile};

/// The bootstrap resamples of `n` values, as indices with replacement: `resamples` rows of `n` indices, sampled
/// row by row by [`SplitMix64`].
#[derive(Debug)]
pub struct BootstrapIndices {
    n: usize,
    indices: Vec<u32>,
}

impl BootstrapIndices {
    /// Samples the indices with the random seed `seed`.
    pub fn new(n: usize, resamples: usize, seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        Self {
            n,
            indices: (0..n * resamples).map(|_| random.below(n) as u32).collect(),
        }
    }

    /// The resamples; each is a slice of `n` indices.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.indices.chunks_exact(self.n.max(1))
    }

    /// The mean of each resample, in ascending order.
    pub fn means(&self, values: &[f64]) -> Vec<f64> {
        debug_assert_eq!(values.len(), self.n);
        let rows = self.rows();
        let mean = |row: &[u32]| {
            let sum: f64 = row.iter().map(|&index| values[index as usize]).sum();
            sum / self.n as f64
        };
        let mut means: Vec<f64> = rows.map(mean).collect();
        means.sort_unstable_by(f64::total_cmp);
        means
    }

    /// The 95 % bootstrap-t confidence interval of the mean (Efron & Tibshirani 1993, section 12.5): the
    /// quantiles of (mean of a resample - mean) / (standard error of the resample), times the standard error.
    /// It follows the skew of the values and the smallness of `n`, which the percentile interval does not (see
    /// `benches/coverage.rs`). `None` for fewer than two values or without resamples.
    pub fn mean_interval(&self, values: &[f64]) -> Option<[f64; 2]> {
        let [low, high] = self.t_quantiles(values)?;
        Some(interval(values, [low, high]))
    }

    /// The 95 % confidence interval of the mean of paired differences: the quantiles of the bootstrap-t averaged
    /// with Student's. Where two models differ by chance alone the differences are symmetric, and the skew that
    /// the bootstrap sees in a few of them is mostly noise; half of it is kept. `None` as in
    /// [`Self::mean_interval`].
    pub fn difference_interval(&self, differences: &[f64]) -> Option<[f64; 2]> {
        let student = t_quantile(differences.len() as f64 - 1.0)?;
        let [low, high] = self.t_quantiles(differences)?;
        let quantiles = [f64::midpoint(low, -student), f64::midpoint(high, student)];
        Some(interval(differences, quantiles))
    }

    /// The 2.5 % and the 97.5 % quantile of the studentised means of the resamples. Each is kept within half and
    /// twice Student's quantile: in a resample of few different values the standard error is near or at 0.
    fn t_quantiles(&self, values: &[f64]) -> Option<[f64; 2]> {
        let n = values.len() as f64;
        let student = t_quantile(n - 1.0)?;
        let (least, most) = (0.5 * student, 2.0 * student);
        let center = mean(values);
        let deviations: Vec<f64> = values.iter().map(|value| value - center).collect();
        let squares: Vec<f64> = deviations.iter().map(|d| d * d).collect();
        // The variance of a resample, from sums that round: below this it is 0.
        let zero = 1e-12 * squares.iter().sum::<f64>();
        let studentised = |row: &[u32]| {
            let (mut sum, mut sum_of_squares) = (0.0, 0.0);
            for &index in row {
                sum += deviations[index as usize];
                sum_of_squares += squares[index as usize];
            }
            let mean = sum / n;
            let variance = (sum_of_squares - n * mean * mean) / (n - 1.0);
            let t = if variance > zero {
                mean / (variance / n).sqrt()
            } else if mean * mean <= zero {
                0.0
            } else {
                mean * f64::INFINITY
            };
            t.clamp(-most, most)
        };
        let mut t: Vec<f64> = self.rows().map(studentised).collect();
        t.sort_unstable_by(f64::total_cmp);
        (!t.is_empty()).then(|| {
            let low = percentile(&t, 0.025).min(-least);
            [low, percentile(&t, 0.975).max(least)]
        })
    }
}

/// The interval of the mean from quantiles of (estimate - mean) / standard error.
fn interval(values: &[f64], [low, high]: [f64; 2]) -> [f64; 2] {
    let (mean, se) = (mean(values), se(values));
    [mean - high * se, mean - low * se]
}

/// The cache of resamples by number of prompts: all measures with the same number of prompts share the resamples,
/// so that their intervals are comparable.
#[derive(Debug)]
pub struct BootstrapCache {
    resamples: usize,
    seed: u64,
    made: Mutex<BTreeMap<usize, Arc<BootstrapIndices>>>,
}

impl BootstrapCache {
    /// A cache for `resamples` resamples with the random seed `seed`.
    pub fn new(resamples: usize, seed: u64) -> Self {
        Self {
            resamples,
            seed,
            made: Mutex::default(),
        }
    }

    /// The resamples of `n` prompts, computed on first use.
    pub fn indices(&self, n: usize) -> Arc<BootstrapIndices> {
        let mut cache = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let indices = cache
            .entry(n)
            .or_insert_with(|| Arc::new(BootstrapIndices::new(n, self.resamples, self.seed)));
        Arc::clone(indices)
    }
}

/// The quantile `share` (0 to 1) of sorted, non-empty values, with linear interpolation (numpy: `percentile`,
/// `linear`).
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_few_different_values_are_finite() {
        // Most resamples of these hold one value alone, with a standard error of 0.
        for values in [&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0][..], &[1.0, 2.0]] {
            let resamples = BootstrapIndices::new(values.len(), 999, 7);
            for interval in [
                resamples.mean_interval(values),
                resamples.difference_interval(values),
            ] {
                let [low, high] = interval.unwrap();
                assert!(low.is_finite() && high.is_finite(), "{low} {high}");
                assert!(low < mean(values) && mean(values) < high, "{low} {high}");
            }
        }
        let same = BootstrapIndices::new(4, 999, 7);
        assert_eq!(same.mean_interval(&[2.0; 4]), Some([2.0, 2.0]));
        assert_eq!(BootstrapIndices::new(1, 99, 7).mean_interval(&[2.0]), None);
    }
}
