//! How many of a text's runs of words stand in other texts? BLEU, with the smoothings that differ
//! between packages.

use std::collections::HashMap;

use super::ngrams;
use crate::words::Words;

/// What stands in for a precision of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smoothing {
    /// Nothing: the score is zero (`evaluate`'s BLEU).
    None,
    /// 0.1 over the number of runs (Chen & Cherry 2014, method 1, as in nltk).
    Epsilon,
    /// 1/2, 1/4, 1/8 .. over the number of runs, in the order in which zeros come (mteval, sacrebleu's
    /// `exp`); a text too short for an order scores zero.
    Exponential,
}

/// The runs of texts, counted, for BLEU of any of them against any others.
#[derive(Debug)]
pub struct NgramCounts {
    lengths: Vec<usize>,
    /// An order, a text: how often each run stands in it.
    counts: Vec<Vec<HashMap<u32, u32>>>,
    smoothing: Smoothing,
}

impl NgramCounts {
    /// Counts runs of 1 to `most` words.
    pub fn new(words: &Words, most: usize, smoothing: Smoothing) -> Self {
        let count = |runs: &Vec<u32>| {
            let mut counts = HashMap::with_capacity(runs.len());
            for &run in runs {
                *counts.entry(run).or_insert(0) += 1;
            }
            counts
        };
        let orders = ngrams::orders(&words.texts, words.vocab_size, most);
        Self {
            lengths: words.texts.iter().map(Vec::len).collect(),
            counts: orders
                .iter()
                .map(|(runs, _)| runs.iter().map(count).collect())
                .collect(),
            smoothing,
        }
    }

    /// BLEU of one text against others (Papineni et al. 2002): the geometric mean of the shares of
    /// its runs that stand in some other, as often as there at most, times the brevity penalty
    /// against the other whose length is nearest.
    pub fn bleu(&self, text: usize, others: &[usize]) -> f64 {
        let length = self.lengths[text];
        if length == 0 {
            // Nothing is nothing's equal.
            let equal = others.iter().any(|&other| self.lengths[other] == 0);
            return f64::from(u8::from(equal));
        }
        let mut logs = 0.0;
        let mut zeros = 0;
        for (order, counts) in self.counts.iter().enumerate() {
            let most = |run: &u32| {
                let found = others.iter().filter_map(|&other| counts[other].get(run));
                found.copied().max().unwrap_or(0)
            };
            let kept = counts[text]
                .iter()
                .map(|(run, &count)| u64::from(count.min(most(run))));
            let kept: u64 = kept.sum();
            let all = (length as u64).saturating_sub(order as u64);
            if kept == 0 && (order == 0 || self.smoothing == Smoothing::None) {
                return 0.0;
            }
            logs += match (kept, self.smoothing) {
                (0, Smoothing::Exponential) if all == 0 => return 0.0,
                (0, Smoothing::Exponential) => {
                    zeros += 1;
                    (0.5_f64.powi(zeros) / all as f64).ln()
                }
                (0, _) => (0.1 / all.max(1) as f64).ln(),
                _ => (kept as f64 / all as f64).ln(),
            };
        }
        let nearest = others
            .iter()
            .map(|&other| self.lengths[other])
            .min_by_key(|&other| (other.abs_diff(length), other))
            .unwrap_or(length);
        let brevity = if length > nearest {
            1.0
        } else {
            (1.0 - nearest as f64 / length as f64).exp()
        };
        brevity * (logs / self.counts.len() as f64).exp()
    }
}
