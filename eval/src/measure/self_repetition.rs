//! `self_repetition(text, n)`: how many of a text's runs of n words stand in the others, too?

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use super::ngrams;
use crate::words::{Tokenization, Words};

/// The mean over texts of ln(1 + how often its different runs of `n` words stand in other texts,
/// each counted once a text) (Salkar et al. 2022; the package `diversity` 0.3, `self_repetition.py`).
/// None without a text.
pub fn self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let words = Words::of(texts, Tokenization::Whitespace);
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

/// What the copy in the paper's code gives: every run counts as often as it stands in the text, for
/// 1 and each other, unequal text that has it anywhere, even within words. It grows with length, and
/// is minus infinity for a text of fewer than `n` words.
pub fn reference_self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let total = |text: &&str| -> Option<f64> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let runs: Vec<String> = words.windows(n).map(|run| run.join(" ")).collect();
        // Runs that stand in the text more than once are looked for once.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for run in &runs {
            *counts.entry(run).or_default() += 1;
        }
        let (found, counts): (Vec<&str>, Vec<usize>) = counts.into_iter().unzip();
        let all = AhoCorasick::new(&found).ok()?;
        let mut sum = runs.len();
        for other in texts.iter().filter(|other| *other != text) {
            let mut is_there = vec![false; found.len()];
            for place in all.find_overlapping_iter(other) {
                is_there[place.pattern().as_usize()] = true;
            }
            let there = is_there
                .iter()
                .zip(&counts)
                .filter(|(is_there, _)| **is_there);
            sum += there.map(|(_, count)| count).sum::<usize>();
        }
        Some(sum as f64)
    };
    let totals: Vec<f64> = texts.iter().map(total).collect::<Option<_>>()?;
    let logs = totals.iter().map(|total| total.ln());
    (!texts.is_empty()).then(|| logs.sum::<f64>() / texts.len() as f64)
}
