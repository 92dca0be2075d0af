//! Reward model metrics on held-out scores: Spearman's rho, slope, MAE, pairwise accuracy.

use std::cmp::Ordering;
use std::fmt;

use polyphony_io::correlation::spearman;
use serde::Serialize;

/// Metrics of a reward model, in the format of `reward_eval.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RewardMetrics {
    /// The number of texts.
    pub rows: usize,
    /// Spearman's rank correlation of rewards and targets (scipy: `spearmanr`); none where either is constant.
    pub spearman: Option<f64>,
    /// The slope of rewards over targets by least squares (scipy: `linregress`); NaN for constant targets.
    pub slope: f64,
    /// The mean absolute error (MAE) of rewards.
    pub mae: f64,
    /// Pairwise accuracy: the share of pairs of one prompt whose text with the higher target has the higher
    /// reward; equal rewards count half. NaN for no pairs.
    pub pairwise_accuracy: f64,
    /// The number of pairs of one prompt with different targets.
    pub pairs: usize,
}

impl fmt::Display for RewardMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spearman = self
            .spearman
            .map_or_else(|| "n/a".to_owned(), |rho| format!("{rho:.3}"));
        write!(
            f,
            "{} held-out texts: Spearman's rho {spearman}, slope {:.3}, MAE {:.3}, pairwise accuracy {:.1} % \
             of {} pairs",
            self.rows,
            self.slope,
            self.mae,
            100.0 * self.pairwise_accuracy,
            self.pairs
        )
    }
}

/// Compares rewards with their targets; `prompts` has the prompt hash of each text.
pub fn reward_metrics(rewards: &[f64], targets: &[f64], prompts: &[u64]) -> RewardMetrics {
    let rows = rewards.len();
    let errors = rewards.iter().zip(targets).map(|(a, b)| (a - b).abs());
    let (mut correct, mut pairs) = (0.0, 0_usize);
    let mut by_prompt: Vec<usize> = (0..rows).collect();
    by_prompt.sort_by_key(|&row| prompts[row]);
    for group in by_prompt.chunk_by(|a, b| prompts[*a] == prompts[*b]) {
        for (index, &a) in group.iter().enumerate() {
            for &b in &group[index + 1..] {
                if targets[a] == targets[b] {
                    continue;
                }
                pairs += 1;
                let difference = if targets[a] > targets[b] {
                    rewards[a] - rewards[b]
                } else {
                    rewards[b] - rewards[a]
                };
                correct += match difference.partial_cmp(&0.0) {
                    Some(Ordering::Greater) => 1.0,
                    Some(Ordering::Equal) => 0.5,
                    _ => 0.0,
                };
            }
        }
    }
    RewardMetrics {
        rows,
        spearman: spearman(rewards, targets),
        slope: slope(targets, rewards),
        mae: errors.sum::<f64>() / rows as f64,
        pairwise_accuracy: correct / pairs as f64,
        pairs,
    }
}

/// The slope of the least-squares line of `y` over `x`.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let points = x.iter().zip(y).map(|(x, y)| (x - mean_x, y - mean_y));
    let (xy, xx) = points.fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + x * y, xx + x * x));
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_match_numpy() {
        // corrcoef of the ranks, and polyfit(targets, rewards, 1).
        let rewards = [0.1, 0.4, 0.4, 0.9, -0.3];
        let targets = [0.0, 0.5, 0.2, 0.6, 0.6];
        let metrics = reward_metrics(&rewards, &targets, &[1, 1, 1, 2, 2]);
        let near = |actual: f64, expected: f64| {
            assert!((actual - expected).abs() < 1e-12, "{actual} {expected}");
        };
        near(metrics.spearman.unwrap(), 0.157_894_736_842_105_28);
        near(metrics.slope, 0.243_055_555_555_555_5);
        near(metrics.mae, 0.32);
        // Prompt 1: correct, correct, tied. Prompt 2 has equal targets.
        assert_eq!(metrics.pairs, 3);
        near(metrics.pairwise_accuracy, 2.5 / 3.0);
    }
}
