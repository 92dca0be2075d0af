//! Pairwise BLEU: `pairwise_bleu(text, n)`, the mean BLEU of all ordered pairs of texts.

use super::measure::{Direction, Function, Group, Measure, SetSize, ngram_length};
use crate::stats::mean::mean_of_pairs;
use crate::text::bleu::{NgramCounts, Smoothing};
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "pairwise_bleu",
    function: Function::Texts(|texts, parameters| pairwise_bleu(texts, parameters[0] as usize)),
    parameters: &[ngram_length(4.0)],
    group: Group::Words,
    size: SetSize::MeanOverPairs,
    direction: Direction::Lower,
    description: "The mean BLEU of all ordered pairs of texts, smoothing method 1.",
    columns: &[],
};

/// The mean BLEU over all ordered pairs of texts (words split at white space, smoothing method 1); 0 to 1.
/// `None` for fewer than two texts.
pub fn pairwise_bleu(texts: &[&str], n: usize) -> Option<f64> {
    pairwise(texts, n, Tokenization::Whitespace, Smoothing::Epsilon)
}

/// [`pairwise_bleu`] with another tokenization and smoothing, for comparison with other packages: `evaluate`
/// (13a, no smoothing) and `NoveltyBench` (sacrebleu: 13a, exponential smoothing).
pub fn pairwise(
    texts: &[&str],
    n: usize,
    tokenization: Tokenization,
    smoothing: Smoothing,
) -> Option<f64> {
    let words = TokenIds::new(texts, tokenization);
    let counts = NgramCounts::new(&words, n, smoothing);
    mean_of_pairs(texts.len(), |i, j| {
        f64::midpoint(counts.bleu(i, &[j]), counts.bleu(j, &[i]))
    })
}
