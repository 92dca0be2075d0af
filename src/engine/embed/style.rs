//! `builtin:style`: stylometric embedding, of how a text is written and not of what it is about.
//!
//! 768 values in blocks of equal weight: frequencies of common function words (160), hashed character
//! trigrams (512), punctuation (32), and histograms of word, sentence and paragraph length with a few
//! ratios (64). Each block contains square roots of frequencies, so that texts of different length are
//! comparable (Hellinger distance). It needs no weights and no download, and its result bits are the
//! same on every machine. It is for demonstrations and tests; use a trained embedder for results.

use polyphony_io::hash::{fnv1a, mix64};

use super::words::words;
use polyphony_model::kernel::vector::normalize;

/// The embedder's name in SQL and on the command line.
pub const NAME: &str = "builtin:style";
/// The revision; it changes whenever the vectors change.
pub const REVISION: &str = "1";
/// The dimension of a vector.
pub const DIMENSION: usize = 768;

const TRIGRAMS: usize = 512;
const PUNCTUATION: usize = 32;
const WORD_LENGTHS: usize = 16;
const SENTENCE_LENGTHS: usize = 24;
const PARAGRAPH_LENGTHS: usize = 16;
const RATIOS: usize = 8;

const MARKS: [char; PUNCTUATION] = [
    '.', ',', ';', ':', '!', '?', '\'', '"', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '-',
    '\u{2013}', '\u{2014}', '\u{2026}', '(', ')', '[', ']', '*', '_', '#', '/', '~', '&', '>', '|',
    '\u{3001}', '\u{3002}', '\u{300c}', '\u{300d}',
];

const FUNCTION_WORDS: [&str; 160] = [
    "a",
    "about",
    "above",
    "across",
    "after",
    "again",
    "against",
    "all",
    "almost",
    "along",
    "already",
    "also",
    "although",
    "always",
    "am",
    "among",
    "an",
    "and",
    "another",
    "any",
    "are",
    "around",
    "as",
    "at",
    "away",
    "back",
    "be",
    "because",
    "been",
    "before",
    "behind",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "can't",
    "could",
    "did",
    "didn't",
    "do",
    "does",
    "doesn't",
    "don't",
    "done",
    "down",
    "each",
    "either",
    "enough",
    "even",
    "ever",
    "every",
    "few",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "here",
    "hers",
    "him",
    "his",
    "how",
    "however",
    "i",
    "i'd",
    "i'll",
    "i'm",
    "i've",
    "if",
    "in",
    "into",
    "is",
    "it",
    "it's",
    "its",
    "just",
    "least",
    "less",
    "many",
    "may",
    "me",
    "might",
    "more",
    "most",
    "much",
    "must",
    "my",
    "myself",
    "never",
    "no",
    "nor",
    "not",
    "nothing",
    "now",
    "of",
    "off",
    "often",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "over",
    "own",
    "perhaps",
    "rather",
    "really",
    "said",
    "same",
    "shall",
    "she",
    "should",
    "since",
    "so",
    "some",
    "something",
    "still",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "though",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "upon",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "will",
    "with",
    "would",
    "yet",
    "you",
    "your",
];

/// Writes the vector of `text` to `vector`, which must be [`DIMENSION`] zeros.
pub fn embed(text: &str, vector: &mut [f32]) {
    let (function_words, rest) = vector.split_at_mut(FUNCTION_WORDS.len());
    let (trigrams, rest) = rest.split_at_mut(TRIGRAMS);
    let (punctuation, shape) = rest.split_at_mut(PUNCTUATION);
    let words = words(text);
    for word in &words {
        if let Ok(index) = FUNCTION_WORDS.binary_search(&word.as_str()) {
            function_words[index] += 1.0;
        }
    }
    count_trigrams(text, trigrams);
    for mark in text.chars() {
        if let Some(index) = MARKS.iter().position(|candidate| *candidate == mark) {
            punctuation[index] += 1.0;
        }
    }
    describe_shape(text, &words, shape);
    for block in [function_words, trigrams, punctuation, shape] {
        for value in block.iter_mut() {
            *value = value.sqrt();
        }
        normalize(block);
    }
    normalize(vector);
}

/// Hashed trigrams of lower-cased characters; consecutive white space counts as one space.
fn count_trigrams(text: &str, counts: &mut [f32]) {
    let mut window = [' '; 3];
    for character in text.chars().flat_map(char::to_lowercase) {
        let character = if character.is_whitespace() {
            ' '
        } else {
            character
        };
        if character == ' ' && window[2] == ' ' {
            continue;
        }
        window = [window[1], window[2], character];
        let bytes: Vec<u8> = window
            .iter()
            .flat_map(|c| u32::from(*c).to_le_bytes())
            .collect();
        counts[mix64(fnv1a(&bytes)) as usize % counts.len()] += 1.0;
    }
}

/// Histograms of lengths and a few ratios, each scaled to a sum of at most 1.
fn describe_shape(text: &str, words: &[String], shape: &mut [f32]) {
    let (word_lengths, rest) = shape.split_at_mut(WORD_LENGTHS);
    let (sentence_lengths, rest) = rest.split_at_mut(SENTENCE_LENGTHS);
    let (paragraph_lengths, ratios) = rest.split_at_mut(PARAGRAPH_LENGTHS);
    debug_assert_eq!(ratios.len(), RATIOS);
    let lengths = words.iter().map(|word| word.chars().count() - 1);
    histogram(lengths, word_lengths);
    let count = |part: &str| part.split_whitespace().count();
    let sentences = || {
        text.split(['.', '!', '?', '\u{2026}', '\u{3002}'])
            .map(count)
    };
    histogram(
        sentences().filter(|n| *n > 0).map(|n| (n - 1) / 2),
        sentence_lengths,
    );
    let paragraphs = || text.split('\n').map(count).filter(|n| *n > 0);
    histogram(paragraphs().map(|n| (n - 1) / 8), paragraph_lengths);

    let characters = text.chars().count().max(1) as f32;
    let portion =
        |class: fn(char) -> bool| text.chars().filter(|c| class(*c)).count() as f32 / characters;
    let mut distinct: Vec<&String> = words.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    ratios[0] = portion(char::is_uppercase);
    ratios[1] = portion(char::is_numeric);
    ratios[2] = portion(char::is_whitespace);
    ratios[3] = portion(|c| !c.is_ascii());
    ratios[4] = distinct.len() as f32 / words.len().max(1) as f32;
    ratios[5] = sentences().filter(|n| *n == 1).count() as f32 / words.len().max(1) as f32;
    ratios[6] = paragraphs().count() as f32 / words.len().max(1) as f32;
    let spoken = |line: &&str| {
        line.trim_start()
            .starts_with(['"', '\u{201c}', '\'', '\u{2018}'])
    };
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count()
        .max(1) as f32;
    ratios[7] = text.lines().filter(spoken).count() as f32 / lines;
}

/// A histogram as shares of the values; the last bin also counts all larger values.
fn histogram(values: impl Iterator<Item = usize>, shares: &mut [f32]) {
    let last = shares.len() - 1;
    let mut total = 0.0;
    for value in values {
        shares[value.min(last)] += 1.0;
        total += 1.0;
    }
    if total > 0.0 {
        for share in shares {
            *share /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyphony_model::kernel::vector::{dot, norm};

    fn vector(text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; DIMENSION];
        embed(text, &mut vector);
        vector
    }

    #[test]
    fn all_feature_blocks_together_fill_the_vector() {
        let blocks = [
            FUNCTION_WORDS.len(),
            TRIGRAMS,
            PUNCTUATION,
            WORD_LENGTHS,
            SENTENCE_LENGTHS,
            PARAGRAPH_LENGTHS,
            RATIOS,
        ];
        assert_eq!(blocks.iter().sum::<usize>(), DIMENSION);
        assert!(FUNCTION_WORDS.is_sorted());
    }

    #[test]
    fn texts_of_the_same_style_are_closer_than_texts_of_another() {
        let plain = vector("She walked to the door. She opened it. The street was empty and cold.");
        let similar = vector("He ran to the wall. He climbed it. The field was silent and dark.");
        let list = vector("1) EGGS!!! 2) FLOUR (x3) 3) -- salt; sugar; yeast -- 4) WHY?!");
        assert!((norm(&plain) - 1.0).abs() < 1e-6);
        assert!(dot(&plain, &similar) > dot(&plain, &list) + 0.1);
        assert!(vector("").iter().all(|value| *value == 0.0));
    }
}
