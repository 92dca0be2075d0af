//! N-gram diversity: `ngram_diversity(text, n)`, the ratios of unique n-grams of lengths 1 to n, summed.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize, ngram_length};
use crate::text::ngrams;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "ngram_diversity",
    function: Function::Texts(|texts, parameters| ngram_diversity(texts, parameters[0] as usize)),
    parameters: &[ngram_length(4.0)],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "The shares of different n-grams of 1 to 4 words among all, summed; words at single spaces.",
    columns: &[Column::new("ngram_diversity", "N-gram diversity")],
};

/// The ratio of unique n-grams to all n-grams, summed over lengths 1 to `n`; at most `n` (Meister et al. 2023;
/// Python package `diversity`, `ngram_diversity.py`). As in the package, n-grams span text boundaries.
/// `None` for fewer than `n` words, where the package divides by zero.
pub fn ngram_diversity(texts: &[&str], n: usize) -> Option<f64> {
    let joined = texts.join(" ");
    let words = TokenIds::new(&[&joined], Tokenization::Spaces);
    if words.count() < n || texts.is_empty() {
        return None;
    }
    let orders = ngrams::orders(&words.texts, words.vocab_size, n);
    let shares = orders
        .iter()
        .map(|(runs, vocab_size)| *vocab_size as f64 / runs[0].len() as f64);
    Some(shares.sum())
}
