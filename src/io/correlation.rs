//! Correlation: ranks, Pearson's r and Spearman's rho.

/// Ranks from 1; tied values share their mean rank (scipy: `rankdata`).
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + f64::midpoint(tied.len() as f64, 1.0);
        for &index in tied {
            ranks[index] = rank;
        }
        start += tied.len();
    }
    ranks
}

/// Pearson's r, in `[-1, 1]` (scipy: `pearsonr`); `None` when an input is constant or empty.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let pairs = || a.iter().zip(b).map(|(x, y)| (x - mean_a, y - mean_b));
    let covariance: f64 = pairs().map(|(x, y)| x * y).sum();
    let squares_a: f64 = pairs().map(|(x, _)| x * x).sum();
    let squares_b: f64 = pairs().map(|(_, y)| y * y).sum();
    let r = covariance / (squares_a * squares_b).sqrt();
    r.is_finite().then_some(r.clamp(-1.0, 1.0))
}

/// Spearman's rho: Pearson's r of the ranks (scipy: `spearmanr`), in `[-1, 1]`; `None` as [`pearson`].
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_match_scipy() {
        let (a, b) = ([0.1, 0.4, 0.4, 0.9, -0.3], [0.0, 0.5, 0.2, 0.6, 0.6]);
        assert_eq!(ranks(&a), [2.0, 3.5, 3.5, 5.0, 1.0]);
        let rho = spearman(&a, &b).unwrap();
        assert!((rho - 0.157_894_736_842_105_28).abs() < 1e-12, "{rho}");
        assert_eq!(pearson(&a, &[1.0; 5]), None);
        assert_eq!(pearson(&[], &[]), None);
    }
}
