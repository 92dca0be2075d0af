//! Looping texts: a degenerate model repeats the same words until the limit of new tokens.

use super::ngrams;
use super::tokenization::{TokenIds, Tokenization};

/// The order of the n-grams.
const ORDER: usize = 4;
/// Shorter texts are never called looping.
const MIN_NGRAMS: usize = 32;

/// Whether fewer than half of a text's 4-grams are different. Stories have shares above 0.9.
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
