//! `ngram_diversity(text, n)`: how new are the runs of 1, 2 .. n words, added up?

use super::ngrams;
use crate::words::{Tokenization, Words};

/// The share of different runs among all, added up over lengths 1 to `n`; at most `n` (Meister et
/// al. 2023; the package `diversity`, `ngram_diversity.py`). Runs cross from one text into the next,
/// as there. None where there are fewer than `n` words, where the package divides by zero.
pub fn ngram_diversity(texts: &[&str], n: usize) -> Option<f64> {
    let joined = texts.join(" ");
    let words = Words::of(&[&joined], Tokenization::Spaces);
    if words.count() < n || texts.is_empty() {
        return None;
    }
    let orders = ngrams::orders(&words.texts, words.vocab_size, n);
    let shares = orders
        .iter()
        .map(|(runs, vocab_size)| *vocab_size as f64 / runs[0].len() as f64);
    Some(shares.sum())
}
