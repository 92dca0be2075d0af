//! Mean number of words: `mean_words(text)`.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::stats::mean::mean;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "mean_words",
    function: Function::Texts(|texts, _| mean_words(texts)),
    parameters: &[],
    group: Group::Length,
    size: SetSize::MeanOverTexts,
    direction: Direction::Neither,
    description: "The mean number of words of a text; scripts without spaces letter by letter.",
    columns: &[Column::new("words", "Words")],
};

/// The mean number of words of the texts, split at white space. `None` without a text.
pub fn mean_words(texts: &[&str]) -> Option<f64> {
    let counts: Vec<f64> = texts.iter().map(|text| count_words(text) as f64).collect();
    (!counts.is_empty()).then(|| mean(&counts))
}

/// The number of words of a text, split at white space; in scripts without spaces (such as Chinese) every
/// character counts as a word.
pub fn count_words(text: &str) -> usize {
    TokenIds::new(&[text], Tokenization::Whitespace).count()
}
