//! BLEU: the score of a text against reference texts, with the smoothing methods of different packages.

use std::collections::HashMap;

use super::ngrams;
use super::tokenization::TokenIds;

/// The smoothing method: what replaces an n-gram precision of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smoothing {
    /// No smoothing: the score is zero (as in `evaluate`'s BLEU).
    None,
    /// 0.1 over the number of n-grams (Chen & Cherry 2014, method 1, as in nltk).
    Epsilon,
    /// 1/2, 1/4, 1/8, ... over the number of n-grams for the first, second, third, ... zero precision (mteval,
    /// sacrebleu's `exp`); a text too short for an order scores zero.
    Exponential,
}

/// The n-gram counts of texts: computed once, for the BLEU of any text against any others.
#[derive(Debug)]
pub struct NgramCounts {
    lengths: Vec<usize>,
    /// The count of each n-gram, by order and text.
    counts: Vec<Vec<HashMap<u32, u32>>>,
    smoothing: Smoothing,
}

impl NgramCounts {
    /// Counts n-grams of 1 to `max_order` words.
    pub fn new(words: &TokenIds, max_order: usize, smoothing: Smoothing) -> Self {
        let count = |ngrams: &Vec<u32>| {
            let mut counts = HashMap::with_capacity(ngrams.len());
            for &ngram in ngrams {
                *counts.entry(ngram).or_insert(0) += 1;
            }
            counts
        };
        let orders = ngrams::orders(&words.texts, words.vocab_size, max_order);
        Self {
            lengths: words.texts.iter().map(Vec::len).collect(),
            counts: orders
                .iter()
                .map(|(texts, _)| texts.iter().map(count).collect())
                .collect(),
            smoothing,
        }
    }

    /// BLEU of one text with others as references (Papineni et al. 2002), 0 to 1: the geometric mean of the
    /// clipped n-gram precisions, times the brevity penalty against the reference of the nearest length.
    pub fn bleu(&self, text: usize, others: &[usize]) -> f64 {
        let length = self.lengths[text];
        if length == 0 {
            // An empty text equals another empty text.
            let equal = others.iter().any(|&other| self.lengths[other] == 0);
            return f64::from(u8::from(equal));
        }
        let mut logs = 0.0;
        let mut zeros = 0;
        for (order, counts) in self.counts.iter().enumerate() {
            let reference = |ngram: &u32| {
                let counts = others.iter().filter_map(|&other| counts[other].get(ngram));
                counts.copied().max().unwrap_or(0)
            };
            let clipped = counts[text]
                .iter()
                .map(|(ngram, &count)| u64::from(count.min(reference(ngram))));
            let clipped: u64 = clipped.sum();
            let all = (length as u64).saturating_sub(order as u64);
            if clipped == 0 && (order == 0 || self.smoothing == Smoothing::None) {
                return 0.0;
            }
            logs += match (clipped, self.smoothing) {
                (0, Smoothing::Exponential) if all == 0 => return 0.0,
                (0, Smoothing::Exponential) => {
                    zeros += 1;
                    (0.5_f64.powi(zeros) / all as f64).ln()
                }
                (0, _) => (0.1 / all.max(1) as f64).ln(),
                _ => (clipped as f64 / all as f64).ln(),
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
