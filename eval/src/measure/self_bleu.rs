//! `self_bleu(text, n)`: how much of each text could be put together from the others?

use super::bleu::{NgramCounts, Smoothing};
use crate::words::{Tokenization, Words};

/// The mean BLEU of each text with all others as references (Zhu et al. 2018): runs of up to `n`
/// words, cut at white space, nltk's smoothing method 1. Other packages smooth otherwise and differ
/// widely. None for fewer than two texts.
pub fn self_bleu(texts: &[&str], n: usize) -> Option<f64> {
    let scores = self_bleus(texts, n)?;
    Some(scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The BLEU of each text with all others as references.
pub fn self_bleus(texts: &[&str], n: usize) -> Option<Vec<f64>> {
    let words = Words::of(texts, Tokenization::Whitespace);
    let counted = NgramCounts::new(&words, n, Smoothing::Epsilon);
    let score = |text: usize| {
        let others: Vec<usize> = (0..texts.len()).filter(|&other| other != text).collect();
        counted.bleu(text, &others)
    };
    (texts.len() > 1).then(|| (0..texts.len()).map(score).collect())
}
