//! `pairwise_bleu(text, n)`: how much of each text stands in each other one?

use super::bleu::{NgramCounts, Smoothing};
use super::mean_of_pairs;
use crate::words::{Tokenization, Words};

/// The mean BLEU over all ordered pairs of texts. None for fewer than two texts.
pub fn pairwise_bleu(texts: &[&str], n: usize) -> Option<f64> {
    pairwise(texts, n, Tokenization::Whitespace, Smoothing::Epsilon)
}

/// [`pairwise_bleu`] with another way to cut words and to smooth, as other packages have it:
/// `evaluate` (13a, none) and `NoveltyBench` (sacrebleu: 13a, exponential).
pub fn pairwise(texts: &[&str], n: usize, cut: Tokenization, smoothing: Smoothing) -> Option<f64> {
    let words = Words::of(texts, cut);
    let counted = NgramCounts::new(&words, n, smoothing);
    mean_of_pairs(texts.len(), |i, j| {
        f64::midpoint(counted.bleu(i, &[j]), counted.bleu(j, &[i]))
    })
}
