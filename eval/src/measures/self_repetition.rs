//! Self-repetition: `self_repetition(text, n)`, the number of n-grams that a text shares with the others.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize, ngram_length};
use crate::text::ngrams;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "self_repetition",
    function: Function::Texts(|texts, parameters| self_repetition(texts, parameters[0] as usize)),
    parameters: &[ngram_length(4.0)],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "The mean over texts of ln(1 + how often its n-grams of four words occur in other texts).",
    columns: &[Column::new("self_repetition", "Self-repetition")],
};

/// The mean over texts of ln(1 + c), where c is the sum over the text's unique n-grams of the number of other
/// texts that contain the n-gram (Salkar et al. 2022; Python package `diversity` 0.3, `self_repetition.py`).
/// `None` without a text.
pub fn self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let words = TokenIds::new(texts, Tokenization::Whitespace);
    let orders = ngrams::orders(&words.texts, words.vocab_size, n);
    let (runs, vocab_size) = orders.last()?;
    let different = |runs: &Vec<u32>| {
        let mut runs = runs.clone();
        runs.sort_unstable();
        runs.dedup();
        runs
    };
    let runs: Vec<Vec<u32>> = runs.iter().map(different).collect();
    let mut texts_with = vec![0_u64; *vocab_size];
    for &run in runs.iter().flatten() {
        texts_with[run as usize] += 1;
    }
    let elsewhere = |runs: &Vec<u32>| -> u64 {
        let with = runs.iter().map(|&run| texts_with[run as usize] - 1);
        with.sum()
    };
    let logs = runs.iter().map(|runs| (elsewhere(runs) as f64 + 1.0).ln());
    (!runs.is_empty()).then(|| logs.sum::<f64>() / runs.len() as f64)
}
