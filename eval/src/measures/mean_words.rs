//! Mean number of words: `mean_words(text)`.

use super::measure::{Column, Direction, Function, Group, Measure};
use crate::stats::mean::mean;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The measure, for the registry.
pub const MEASURE: Measure = Measure {
    name: "mean_words",
    function: Function::Texts(|texts, _| mean_words(texts)),
    parameters: &[],
    group: Group::Length,
    direction: Direction::Neither,
    description: "The mean number of words of a text; scripts without spaces letter by letter.",
    columns: &[Column::new("words", "Words")],
};

/// The mean number of words of the texts, cut at white space. None without a text.
pub fn mean_words(texts: &[&str]) -> Option<f64> {
    let counts: Vec<f64> = texts.iter().map(|text| count_words(text) as f64).collect();
    (!counts.is_empty()).then(|| mean(&counts))
}

/// The number of words of a text; scripts that are written without spaces count letter by letter.
pub fn count_words(text: &str) -> usize {
    TokenIds::new(&[text], Tokenization::Whitespace).count()
}
