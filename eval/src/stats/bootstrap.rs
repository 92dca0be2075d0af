//! Bootstrap: percentile confidence intervals of means, resampled over prompts with replacement (scipy:
//! `bootstrap`, `percentile`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use polyphony_io::random::SplitMix64;

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

    /// The 95 % percentile confidence interval of the mean; `None` without resamples.
    pub fn interval(&self, values: &[f64]) -> Option<[f64; 2]> {
        let means = self.means(values);
        (!means.is_empty()).then(|| [percentile(&means, 0.025), percentile(&means, 0.975)])
    }
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
