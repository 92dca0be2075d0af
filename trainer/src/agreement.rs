//! How well do a reward model's numbers agree with the votes that it has not seen?

use std::fmt;

use serde::Serialize;

/// Agreement on texts that were held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// How many texts.
    pub rows: usize,
    /// The correlation of ranks, ties sharing their mean rank (scipy: `spearmanr`).
    pub spearman: f64,
    /// The slope of given numbers over targets, by least squares (scipy: `linregress`).
    pub slope: f64,
    /// The mean distance.
    pub mae: f64,
    /// In which share of the pairs of one prompt the higher target has the higher number; a tie
    /// counts half.
    pub pairwise_accuracy: f64,
    /// How many such pairs there are.
    pub pairs: usize,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "on {} held-out texts: Spearman {:.3}, slope {:.3}, mean distance {:.3}, {:.1} % of {} pairs in order",
            self.rows,
            self.spearman,
            self.slope,
            self.mae,
            100.0 * self.pairwise_accuracy,
            self.pairs
        )
    }
}

/// Compares numbers with targets; `prompts` says which texts answer the same one. Measures that are
/// not defined, as a correlation with a constant, are not numbers.
pub fn agreement(given: &[f64], targets: &[f64], prompts: &[u64]) -> Agreement {
    let rows = given.len();
    let distances = given.iter().zip(targets).map(|(a, b)| (a - b).abs());
    let (mut right, mut pairs) = (0.0, 0);
    let mut by_prompt: Vec<usize> = (0..rows).collect();
    by_prompt.sort_by_key(|&row| prompts[row]);
    for group in by_prompt.chunk_by(|a, b| prompts[*a] == prompts[*b]) {
        for (place, &a) in group.iter().enumerate() {
            for &b in &group[place + 1..] {
                if targets[a] == targets[b] {
                    continue;
                }
                pairs += 1;
                let higher = if targets[a] > targets[b] {
                    given[a] - given[b]
                } else {
                    given[b] - given[a]
                };
                right += if higher > 0.0 {
                    1.0
                } else if higher == 0.0 {
                    0.5
                } else {
                    0.0
                };
            }
        }
    }
    let (covariance, of_targets, _) = moments(targets, given);
    let (ranks_covariance, a, b) = moments(&ranks(given), &ranks(targets));
    Agreement {
        rows,
        spearman: ranks_covariance / (a * b).sqrt(),
        slope: covariance / of_targets,
        mae: distances.sum::<f64>() / rows as f64,
        pairwise_accuracy: right / f64::from(pairs),
        pairs: pairs as usize,
    }
}

/// The sums of products and of squares around the means.
fn moments(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let pairs = x.iter().zip(y).map(|(x, y)| (x - mean_x, y - mean_y));
    pairs.fold((0.0, 0.0, 0.0), |(xy, xx, yy), (x, y)| {
        (xy + x * y, xx + x * x, yy + y * y)
    })
}

/// Each value's rank from 1, ties sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        for &place in group {
            ranks[place] = before as f64 + (group.len() + 1) as f64 / 2.0;
        }
        before += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_numpy() {
        // corrcoef of the ranks, and polyfit(targets, given, 1).
        let given = [0.1, 0.4, 0.4, 0.9, -0.3];
        let targets = [0.0, 0.5, 0.2, 0.6, 0.6];
        let known = agreement(&given, &targets, &[1, 1, 1, 2, 2]);
        assert!(
            (known.spearman - 0.157_894_736_842_105_28).abs() < 1e-12,
            "{known:?}"
        );
        assert!(
            (known.slope - 0.243_055_555_555_555_5).abs() < 1e-12,
            "{known:?}"
        );
        assert!((known.mae - 0.32).abs() < 1e-12);
        // Of prompt 1: right, right, tied. Prompt 2 has equal targets.
        assert_eq!(known.pairs, 3);
        assert!((known.pairwise_accuracy - 2.5 / 3.0).abs() < 1e-12);
    }
}
