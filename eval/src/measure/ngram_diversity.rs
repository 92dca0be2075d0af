//! `ngram_diversity(text, n)`: how new are the runs of 1, 2 .. n words, added up?

use super::ngrams;
use crate::words::{Cut, Words};

/// The share of different runs among all, added up over lengths 1 to `n`; at most `n` (Meister et
/// al. 2023; the package `diversity`, `ngram_diversity.py`). Runs cross from one text into the next,
/// as there. None where there are fewer than `n` words, where the package divides by zero.
pub fn ngram_diversity(texts: &[&str], n: usize) -> Option<f64> {
    let joined = texts.join(" ");
    let words = Words::of(&[&joined], Cut::Spaces);
    if words.count() < n || texts.is_empty() {
        return None;
    }
    let orders = ngrams::orders(&words.texts, words.kinds, n);
    let shares = orders
        .iter()
        .map(|(runs, kinds)| *kinds as f64 / runs[0].len() as f64);
    Some(shares.sum())
}
