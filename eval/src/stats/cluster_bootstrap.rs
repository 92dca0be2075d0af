//! Cluster bootstrap: a percentile confidence interval of a share, resampled over clusters of dependent values.

use super::bootstrap::{BootstrapIndices, percentile};

/// The counts of a cluster, such as the answers to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// The number of values that count, at most `size`.
    pub successes: usize,
    /// The number of values.
    pub size: usize,
}

/// The 95 % percentile interval of the share of successes among all values, where clusters are drawn with
/// replacement (Davison and Hinkley 1997, section 3.8). Values of a cluster stay together, so they may depend on
/// each other. `None` for fewer than two clusters, or without a value.
pub fn share_interval(clusters: &[Cluster], resamples: &BootstrapIndices) -> Option<[f64; 2]> {
    if clusters.len() < 2 {
        return None;
    }
    let shares = resamples.rows().filter_map(|row| {
        let drawn = row.iter().map(|&at| clusters[at as usize]);
        let (successes, size) = drawn.fold((0, 0), |(successes, size), cluster| {
            (successes + cluster.successes, size + cluster.size)
        });
        (size > 0).then(|| successes as f64 / size as f64)
    });
    let mut shares: Vec<f64> = shares.collect();
    shares.sort_unstable_by(f64::total_cmp);
    (!shares.is_empty()).then(|| [percentile(&shares, 0.025), percentile(&shares, 0.975)])
}
