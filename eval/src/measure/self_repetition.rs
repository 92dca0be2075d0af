//! `self_repetition(text, n)`: how many of a text's runs of n words stand in the others, too?

use super::ngrams;
use crate::words::{Cut, Words};

/// The mean over texts of ln(1 + how often its different runs of `n` words stand in other texts,
/// each counted once a text) (Salkar et al. 2022; the package `diversity` 0.3, `self_repetition.py`).
/// None without a text.
pub fn self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let words = Words::of(texts, Cut::Whitespace);
    let orders = ngrams::orders(&words.texts, words.kinds, n);
    let (runs, kinds) = orders.last()?;
    let different = |runs: &Vec<u32>| {
        let mut runs = runs.clone();
        runs.sort_unstable();
        runs.dedup();
        runs
    };
    let runs: Vec<Vec<u32>> = runs.iter().map(different).collect();
    let mut texts_with = vec![0_u64; *kinds];
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

/// What the copy in the paper's code gives: every run counts as often as it stands in the text, for
/// 1 and each other, unequal text that has it anywhere, even within words. It grows with length, and
/// is minus infinity for a text of fewer than `n` words.
pub fn reference_self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let total = |text: &&str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let others: Vec<&str> = texts
            .iter()
            .filter(|other| *other != text)
            .copied()
            .collect();
        let runs = words.windows(n).map(|run| run.join(" "));
        let counts = runs.map(|run| 1 + others.iter().filter(|other| other.contains(&run)).count());
        counts.sum::<usize>() as f64
    };
    let logs = texts.iter().map(|text| total(text).ln());
    (!texts.is_empty()).then(|| logs.sum::<f64>() / texts.len() as f64)
}
