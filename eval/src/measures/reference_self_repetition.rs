//! Self-repetition of the published code: `reference_self_repetition(text, n)`.

use std::collections::{HashMap, HashSet};

use super::measure::{Column, Direction, Function, Group, Measure, SetSize, ngram_length};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "reference_self_repetition",
    function: Function::Texts(|texts, parameters| {
        reference_self_repetition(texts, parameters[0] as usize)
    }),
    parameters: &[ngram_length(4.0)],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "What the paper's code gives: every n-gram counts once and again for each other text that has it; it grows with length.",
    columns: &[Column::reference(
        "reference_self_repetition",
        "Self-repetition, published code",
    )],
};

/// The value of the paper's code: each occurrence of an n-gram counts 1, plus 1 for each other, unequal text
/// that contains it as a substring, even within words. The value grows with length, and is minus infinity
/// if a text has fewer than `n` words. `None` without a text.
pub fn reference_self_repetition(texts: &[&str], n: usize) -> Option<f64> {
    let words: Vec<Vec<&str>> = texts
        .iter()
        .map(|text| text.split_whitespace().collect())
        .collect();
    // If a text contains an n-gram as a substring, it contains all but the first and last word as complete
    // words: a fast test before the substring search.
    let inner_length = n.saturating_sub(2).max(1);
    let inner: Vec<HashSet<&[&str]>> = words
        .iter()
        .map(|words| words.windows(inner_length).collect())
        .collect();
    let total = |text: usize| -> usize {
        // Search for each unique n-gram only once.
        let mut counts: HashMap<&[&str], usize> = HashMap::new();
        for ngram in words[text].windows(n) {
            *counts.entry(ngram).or_default() += 1;
        }
        let others: Vec<usize> = (0..texts.len())
            .filter(|&other| texts[other] != texts[text])
            .collect();
        let sums = counts.into_iter().map(|(ngram, count)| {
            let joined = ngram.join(" ");
            let contains = |&&other: &&usize| {
                (n < 3 || inner[other].contains(&ngram[1..n - 1])) && texts[other].contains(&joined)
            };
            count * (1 + others.iter().filter(contains).count())
        });
        sums.sum()
    };
    let logs = (0..texts.len()).map(|text| (total(text) as f64).ln());
    (!texts.is_empty()).then(|| logs.sum::<f64>() / texts.len() as f64)
}
