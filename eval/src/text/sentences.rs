//! Words by sentence: the lower-case words of a text with their places, and the ends of its sentences.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tokenization::split_letters;

/// The id that stands for the end of a sentence among the ids of words.
pub const SENTENCE_END: u32 = u32::MAX;

/// The words of all texts: equal words have equal ids, in the order of first occurrence.
#[derive(Debug, Default)]
pub struct Vocabulary {
    ids: HashMap<String, u32>,
    words: Vec<String>,
}

/// The words of a text in order, with [`SENTENCE_END`] between two sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sentences {
    /// The ids of the words.
    pub ids: Vec<u32>,
    /// The bytes of the text that each word takes; of a sentence's end, its mark.
    pub places: Vec<Range<usize>>,
}

/// The ids of the words of each text.
pub fn ids(texts: &[Sentences]) -> Vec<&[u32]> {
    texts.iter().map(|text| text.ids.as_slice()).collect()
}

/// Words are letters and digits, with single apostrophes between them. Commas, hyphens, asterisks, underscores and
/// stray apostrophes part words, as white space does; any other sign, and an empty line, ends a sentence: no n-gram
/// crosses a full stop, a quotation mark or a dash.
const PATTERN: &str = r"(?x)
    [\p{L}\p{N}][\p{L}\p{M}\p{N}]*
        (?: ['’] [\p{L}\p{N}][\p{L}\p{M}\p{N}]* )*
    | [^\p{Alphabetic}\p{M}\p{N}\s,*_'’\-]
    | \n\s*\n";

impl Vocabulary {
    /// Splits a text into words; scripts without spaces into single letters.
    pub fn split(&mut self, text: &str) -> Sentences {
        static PARTS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(PATTERN).ok());
        let mut sentences = Sentences::default();
        for part in PARTS.iter().flat_map(|parts| parts.find_iter(text)) {
            // What ends a sentence is never alphabetic.
            if part.as_str().starts_with(char::is_alphanumeric) {
                let mut start = part.start();
                split_letters(part.as_str(), &mut |word| {
                    let end = start + word.len();
                    sentences.ids.push(self.id(word));
                    sentences.places.push(start..end);
                    start = end;
                });
            } else if sentences
                .ids
                .last()
                .is_some_and(|last| *last != SENTENCE_END)
            {
                sentences.ids.push(SENTENCE_END);
                sentences.places.push(part.range());
            }
        }
        sentences
    }

    /// The word of an id, in lower case with straight apostrophes.
    pub fn word(&self, id: u32) -> &str {
        self.words.get(id as usize).map_or("", String::as_str)
    }

    fn id(&mut self, word: &str) -> u32 {
        let lower = word.to_lowercase().replace('’', "'");
        if let Some(&id) = self.ids.get(&lower) {
            return id;
        }
        let id = self.words.len() as u32;
        self.words.push(lower.clone());
        self.ids.insert(lower, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Sentences that a script finds letter by letter (`tests/peers/overused_terms.py`).
    #[test]
    fn sentences_equal_those_of_the_script() {
        let golden = include_str!("../../../tests/fixtures/overused_terms.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let cases = golden["sentences"].as_array().unwrap();
        assert!(cases.len() > 5);
        let mut vocabulary = Vocabulary::default();
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let sentences = vocabulary.split(text);
            let parts = sentences.ids.split(|id| *id == SENTENCE_END);
            let parts = parts.filter(|part| !part.is_empty());
            let words: Vec<Vec<&str>> = parts
                .map(|part| part.iter().map(|id| vocabulary.word(*id)).collect())
                .collect();
            assert_eq!(json!(words), case["sentences"], "{text}");
            for (id, place) in sentences.ids.iter().zip(sentences.places) {
                let there = text[place].to_lowercase().replace('’', "'");
                assert!(*id == SENTENCE_END || there == vocabulary.word(*id));
            }
        }
    }
}
