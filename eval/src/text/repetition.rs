//! Looping texts: detection of texts that repeat the same words until the limit of new tokens.

use super::ngrams;
use super::tokenization::{TokenIds, Tokenization};

/// The length of the n-grams, in words.
const ORDER: usize = 4;
/// Texts with fewer n-grams never count as looping.
const MIN_NGRAMS: usize = 32;

/// Whether fewer than half of a text's 4-grams are unique. Normal stories have more than 90 % unique 4-grams.
pub fn is_looping(text: &str) -> bool {
    let tokens = TokenIds::new(&[text], Tokenization::Whitespace);
    let orders = ngrams::orders(&tokens.texts, tokens.vocab_size, ORDER);
    let Some((ngrams, different)) = orders.last() else {
        return false;
    };
    let count = ngrams.iter().map(Vec::len).sum::<usize>();
    count >= MIN_NGRAMS && different * 2 < count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_words_loop_and_a_story_does_not() {
        assert!(is_looping(&"and then he said ".repeat(20)));
        let story: Vec<String> = (0..60).map(|word| format!("word{word}")).collect();
        assert!(!is_looping(&story.join(" ")));
        assert!(!is_looping("no no no no no no"));
    }
}
