//! How far could a mean over prompts lie off? Prompts drawn again, with replacement.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use polyphony_io::random::SplitMix64;

/// Which prompts each replicate draws: `replicates` rows of `n`, by [`SplitMix64`] from `seed`, row
/// by row.
#[derive(Debug)]
pub struct BootstrapIndices {
    n: usize,
    indices: Vec<u32>,
}

impl BootstrapIndices {
    /// Draws them.
    pub fn new(n: usize, replicates: usize, seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        Self {
            n,
            indices: (0..n * replicates)
                .map(|_| random.below(n) as u32)
                .collect(),
        }
    }

    /// The replicates, as places of the prompts they draw.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.indices.chunks_exact(self.n.max(1))
    }

    /// The mean of each replicate, in order of size.
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

    /// The middle 95 % of the replicates' means.
    pub fn interval(&self, values: &[f64]) -> Option<[f64; 2]> {
        let means = self.means(values);
        (!means.is_empty()).then(|| [percentile(&means, 0.025), percentile(&means, 0.975)])
    }
}

/// The draws of a report: for as many prompts they are the same, whatever is measured there.
#[derive(Debug)]
pub struct BootstrapCache {
    replicates: usize,
    seed: u64,
    made: Mutex<BTreeMap<usize, Arc<BootstrapIndices>>>,
}

impl BootstrapCache {
    /// So many replicates of each, from `seed`.
    pub fn new(replicates: usize, seed: u64) -> Self {
        Self {
            replicates,
            seed,
            made: Mutex::default(),
        }
    }

    /// Those of `n` prompts.
    pub fn of(&self, n: usize) -> Arc<BootstrapIndices> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let draws = made
            .entry(n)
            .or_insert_with(|| Arc::new(BootstrapIndices::new(n, self.replicates, self.seed)));
        Arc::clone(draws)
    }
}

/// The value below which a share lies, between neighbours by line (numpy: `percentile`, `linear`).
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}
