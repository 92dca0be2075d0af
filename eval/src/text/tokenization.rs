//! Tokenization: the rules by which measures split texts into words, and the mapping of words to token ids.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// A rule that splits a text into words.
///
/// Scripts without spaces (Han, kana, Thai, Lao, Khmer, Burmese) are split into single characters, so that every
/// text has words. On other text each rule equals the published implementation that it names, except
/// [`Tokenization::Rouge`], which includes letters outside a to z that `rouge_score` drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenization {
    /// Split at white space (Python: `str.split()`).
    Whitespace,
    /// Split at each single space: newlines remain in words, and two spaces give an empty word (Python package
    /// `diversity`, `ngram_diversity.py`).
    Spaces,
    /// Lower-case sequences of letters and digits (equal to `rouge_score` for ASCII letters).
    Rouge,
    /// The tokenization of BLEU's reference scorer, with punctuation as separate words (mteval-v13a, sacrebleu's
    /// `13a`).
    Bleu13a,
    /// As [`Tokenization::Rouge`], but with ASCII letters and digits only, like `rouge_score` 0.1.2: a text
    /// in another script has no words. For comparison with published numbers only.
    AsciiRouge,
}

/// Texts as token ids: equal words have equal ids.
#[derive(Debug, Default)]
pub struct TokenIds {
    /// The token ids of each text.
    pub texts: Vec<Vec<u32>>,
    /// The number of unique words: the size of the vocabulary.
    pub vocab_size: usize,
}

impl TokenIds {
    /// Splits texts into words; ids are in the order of first occurrence.
    pub fn new(texts: &[&str], tokenization: Tokenization) -> Self {
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut id = |word: &str| {
            if let Some(&id) = ids.get(word) {
                return id;
            }
            let next = ids.len() as u32;
            ids.insert(word.to_owned(), next);
            next
        };
        let texts = texts
            .iter()
            .map(|text| {
                let mut words = Vec::new();
                tokenization.each(text, |word| words.push(id(word)));
                words
            })
            .collect();
        Self {
            texts,
            vocab_size: ids.len(),
        }
    }

    /// The total number of words of all texts.
    pub fn count(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }
}

impl Tokenization {
    /// Calls `take` with each word of a text, in order.
    pub fn each(self, text: &str, mut take: impl FnMut(&str)) {
        match self {
            Self::Whitespace => text
                .split_whitespace()
                .for_each(|word| split_letters(word, &mut take)),
            Self::Spaces => text
                .split(' ')
                .for_each(|word| split_letters(word, &mut take)),
            Self::Rouge => lowercase_words(text, take),
            Self::AsciiRouge => text
                .to_lowercase()
                .split(|letter: char| !letter.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .for_each(take),
            Self::Bleu13a => thirteen_a(text)
                .split_whitespace()
                .for_each(|word| split_letters(word, &mut take)),
        }
    }
}

/// A regular expression for words of letters, combining marks and digits. A mark without a letter, as emoji
/// sequences have, is not a word.
fn lowercase_words(text: &str, mut take: impl FnMut(&str)) {
    static WORD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*").ok());
    let lower = text.to_lowercase();
    if lower.is_ascii() {
        let runs = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
        runs.filter(|run| !run.is_empty()).for_each(take);
    } else if let Some(word) = WORD.as_ref() {
        for token in word.find_iter(&lower) {
            split_letters(token.as_str(), &mut take);
        }
    }
}

/// Calls `take` with a word, split into single characters where they belong to a script without spaces.
pub(super) fn split_letters(word: &str, take: &mut impl FnMut(&str)) {
    if word.is_ascii() {
        return take(word);
    }
    let mut start = 0;
    for (at, letter) in word.char_indices() {
        if has_no_spaces(letter) {
            if start < at {
                take(&word[start..at]);
            }
            start = at + letter.len_utf8();
            take(&word[at..start]);
        }
    }
    if start < word.len() {
        take(&word[start..]);
    }
}

fn has_no_spaces(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F // Burmese
        | 0x1780..=0x17FF // Khmer
        | 0x3040..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9F // kana
        | 0x3100..=0x312F // bopomofo
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF) // Han
}

/// The text with spaces around punctuation, as in mteval-v13a.
fn thirteen_a(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "");
    let text = text.replace('\n', " ");
    let text = text
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    let letters: Vec<char> = std::iter::once(' ')
        .chain(text.chars())
        .chain([' '])
        .collect();
    let mut spaced = String::with_capacity(text.len() * 5 / 4);
    for (at, &letter) in letters.iter().enumerate() {
        let digit = |at: Option<usize>| {
            let letter = at.and_then(|at| letters.get(at));
            letter.is_some_and(char::is_ascii_digit)
        };
        let (before, after) = (digit(at.checked_sub(1)), digit(Some(at + 1)));
        let alone = match letter {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => true,
            // A decimal or thousands separator between two digits.
            '.' | ',' => !(before && after),
            '-' => before,
            _ => false,
        };
        if alone {
            spaced.push(' ');
            spaced.push(letter);
            spaced.push(' ');
        } else {
            spaced.push(letter);
        }
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(tokenization: Tokenization, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        tokenization.each(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn each_rule_splits_as_documented() {
        let text = "Don't  stop,\nat 3.5 – Straße.";
        let expected = ["Don't", "stop,", "at", "3.5", "–", "Straße."];
        assert_eq!(words_of(Tokenization::Whitespace, text), expected);
        let expected = ["Don't", "", "stop,\nat", "3.5", "–", "Straße."];
        assert_eq!(words_of(Tokenization::Spaces, text), expected);
        let expected = ["don", "t", "stop", "at", "3", "5", "straße"];
        assert_eq!(words_of(Tokenization::Rouge, text), expected);
        let expected = ["don", "t", "stop", "at", "3", "5", "stra", "e"];
        assert_eq!(words_of(Tokenization::AsciiRouge, text), expected);
        let expected = ["Don't", "stop", ",", "at", "3.5", "–", "Straße", "."];
        assert_eq!(words_of(Tokenization::Bleu13a, text), expected);
    }

    #[test]
    fn scripts_without_spaces_are_split_into_characters() {
        assert_eq!(words_of(Tokenization::Whitespace, "雪の王 sleeps").len(), 4);
        assert_eq!(
            words_of(Tokenization::Rouge, "雪の王、sleeps。"),
            ["雪", "の", "王", "sleeps"]
        );
        assert_eq!(words_of(Tokenization::AsciiRouge, "雪の王").len(), 0);
        // Combining marks (vowel sign, virama) do not split a Hindi word.
        assert_eq!(
            words_of(Tokenization::Rouge, "so ⚡\u{fe0f} 👍\u{1f3fd} it"),
            ["so", "it"]
        );
        assert_eq!(words_of(Tokenization::Rouge, "नमस्ते दुनिया").len(), 2);
    }

    #[test]
    fn empty_text_has_one_empty_word_when_split_at_single_spaces() {
        assert_eq!(words_of(Tokenization::Spaces, ""), [""]);
        assert!(words_of(Tokenization::Whitespace, "").is_empty());
    }

    #[test]
    fn equal_words_have_equal_ids() {
        let words = TokenIds::new(&["a b a", "b c"], Tokenization::Whitespace);
        assert_eq!(words.texts, [vec![0, 1, 0], vec![1, 2]]);
        assert_eq!((words.vocab_size, words.count()), (3, 5));
    }
}
