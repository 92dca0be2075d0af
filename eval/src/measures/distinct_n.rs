//! distinct-n: `distinct_n(text, n)`, the number of unique n-grams over the number of all n-grams.

use super::measure::ngram_length;
use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::text::ngrams;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "distinct_n",
    function: Function::Texts(|texts, parameters| distinct_n(texts, parameters[0] as usize)),
    parameters: &[ngram_length(1.0)],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "The share of different n-grams among all, none across two texts.",
    columns: &[
        Column::with_parameters(
            "distinct_1",
            "Distinct-1",
            &[1.0],
            "The share of different words among all.",
        ),
        Column::with_parameters(
            "distinct_2",
            "Distinct-2",
            &[2.0],
            "The share of different pairs of neighbouring words among all.",
        ),
    ],
};

/// Unique n-grams over all n-grams, where no n-gram spans two texts (Li et al. 2016, distinct-n); 0 to 1.
/// Biased towards short texts: [`super::ead`] corrects for length. `None` where no text has `n` words.
pub fn distinct_n(texts: &[&str], n: usize) -> Option<f64> {
    let (different, all) = counts(texts, n);
    (all > 0).then(|| different as f64 / all as f64)
}

/// The number of unique n-grams, and the number of all n-grams.
pub(super) fn counts(texts: &[&str], n: usize) -> (usize, usize) {
    let words = TokenIds::new(texts, Tokenization::Whitespace);
    let orders = ngrams::orders(&words.texts, words.vocab_size, n);
    orders.last().map_or((0, 0), |(runs, vocab_size)| {
        (*vocab_size, runs.iter().map(Vec::len).sum())
    })
}
