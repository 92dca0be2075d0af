//! Looping texts: `looping(text, bound)`, the share of texts that repeat themselves.

use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize};
use crate::text::ngrams;
use crate::text::tokenization::{TokenIds, Tokenization};

/// The length of the n-grams that are counted, in words. People repeat phrases of a few words on purpose, hardly
/// ever eight.
const WORDS: usize = 8;

/// The minimum length of a text that can loop, in words: in shorter ones a refrain is a large share.
const MIN_WORDS: usize = 50;

/// The share of repeated n-grams above which a text loops. Of 424 comments of r/WritingPrompts the highest share
/// is 0.08, of 1,961 texts of six published models only one is above 0.08; a text of which a quarter is one
/// repeated sentence exceeds it.
pub const BOUND: f64 = 0.2;

/// The share of looping texts from which a report marks a model.
pub const MARKED_SHARE: f64 = 0.05;

/// The name of the column.
pub const NAME: &str = "looping";

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "looping",
    function: Function::Texts(|texts, parameters| looping(texts, parameters[0])),
    parameters: &[Parameter {
        name: "bound",
        default: BOUND,
        range: ParamRange::Positive,
    }],
    group: Group::Words,
    size: SetSize::MeanOverTexts,
    direction: Direction::Lower,
    description: "The share of texts of at least 50 words in which more than 0.2 of the n-grams of eight words \
                  repeat an earlier one.",
    columns: &[Column::new(NAME, "Looping texts")],
};

/// The share of texts whose share of repeated n-grams exceeds `bound`; texts of fewer than 50 words do not count
/// as looping. `None` without a text.
pub fn looping(texts: &[&str], bound: f64) -> Option<f64> {
    if texts.is_empty() {
        return None;
    }
    let loops = texts.iter().filter(|text| repeated_share(text) > bound);
    Some(loops.count() as f64 / texts.len() as f64)
}

/// The share of a text's n-grams of eight words that occurred before in it, in [0, 1); words at white space. 0 for
/// texts of fewer than 50 words.
pub fn repeated_share(text: &str) -> f64 {
    let words = TokenIds::new(&[text], Tokenization::Whitespace);
    if words.texts[0].len() < MIN_WORDS {
        return 0.0;
    }
    let orders = ngrams::orders(&words.texts, words.vocab_size, WORDS);
    orders.last().map_or(0.0, |(ngrams, different)| {
        let all: usize = ngrams.iter().map(Vec::len).sum();
        1.0 - *different as f64 / all.max(1) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_sentence_loops_and_a_refrain_does_not() {
        let story: String = (0..200).map(|word| format!("word{word} ")).collect();
        assert_eq!(repeated_share(&story), 0.0);
        let refrain = format!(
            "{story} the sea the sea {story_end}",
            story_end = "and then the sea the sea"
        );
        assert!(repeated_share(&refrain) < 0.02);
        let sentence = "and the door opened and the door closed again behind them ";
        let looped = format!("{story}{}", sentence.repeat(10));
        assert!(
            repeated_share(&looped) > BOUND,
            "{}",
            repeated_share(&looped)
        );
        assert_eq!(looping(&[&story, &looped], BOUND), Some(0.5));
        // 110 words that are 10 times the same 11: 103 n-grams, 11 different.
        assert!((repeated_share(&sentence.repeat(10)) - (1.0 - 11.0 / 103.0)).abs() < 1e-12);
    }

    #[test]
    fn short_texts_do_not_loop() {
        assert_eq!(repeated_share(&"no ".repeat(49)), 0.0);
        assert!(repeated_share(&"no ".repeat(50)) > 0.9);
        assert_eq!(looping(&[], BOUND), None);
        assert_eq!(looping(&[""], BOUND), Some(0.0));
    }
}
