//! `distinct_n(text, n)`: which share of the runs of n words is new?

use super::ngrams;
use crate::words::{Tokenization, Words};

/// Different runs of `n` words over all of them, none across two texts (Li et al. 2016, distinct-n).
/// Favours short texts: see [`super::ead`]. None where no text has `n` words.
pub fn distinct_n(texts: &[&str], n: usize) -> Option<f64> {
    let (different, all) = counts(texts, n);
    (all > 0).then(|| different as f64 / all as f64)
}

/// How many different runs of `n` words there are, and how many in all.
pub(super) fn counts(texts: &[&str], n: usize) -> (usize, usize) {
    let words = Words::of(texts, Tokenization::Whitespace);
    let orders = ngrams::orders(&words.texts, words.vocab_size, n);
    orders.last().map_or((0, 0), |(runs, vocab_size)| {
        (*vocab_size, runs.iter().map(Vec::len).sum())
    })
}
