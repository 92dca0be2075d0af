//! Self-BLEU: `self_bleu(text, n)`, the mean BLEU of each text against all others.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize, ngram_length};
use crate::text::bleu::{NgramCounts, Smoothing};
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "self_bleu",
    function: Function::Texts(|texts, parameters| self_bleu(texts, parameters[0] as usize)),
    parameters: &[ngram_length(4.0)],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "The mean BLEU-4 of each text against all others; words at white space, smoothing method 1.",
    columns: &[Column::new("self_bleu", "Self-BLEU")],
};

/// Self-BLEU (Zhu et al. 2018): the mean BLEU of each text with all others as references; 0 to 1. Uses n-grams
/// of 1 to `n` words, split at white space, with nltk's smoothing method 1. Packages with other smoothing give
/// very different values. `None` for fewer than two texts.
pub fn self_bleu(texts: &[&str], n: usize) -> Option<f64> {
    let scores = self_bleus(texts, n)?;
    Some(scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The BLEU of each text with all others as references.
pub fn self_bleus(texts: &[&str], n: usize) -> Option<Vec<f64>> {
    let words = TokenIds::new(texts, Tokenization::Whitespace);
    let counted = NgramCounts::new(&words, n, Smoothing::Epsilon);
    let score = |text: usize| {
        let others: Vec<usize> = (0..texts.len()).filter(|&other| other != text).collect();
        counted.bleu(text, &others)
    };
    (texts.len() > 1).then(|| (0..texts.len()).map(score).collect())
}
