//! `builtin:words`: bag-of-words embedding by hashed word n-grams (unigrams and bigrams).
//!
//! Square roots of the counts of lower-cased words and of adjacent word pairs (the root damps frequent
//! words), hashed with a sign into 1,024 values (feature hashing) and scaled to length 1. It needs no
//! weights and no download. Its result bits are the same on every machine: only additions, square roots
//! and divisions occur, in a fixed order. It does not model meaning: synonyms are unrelated. It is for
//! demonstrations and tests; use a trained embedder for results.

use polyphony_io::hash::{fnv1a, mix64};

use polyphony_model::kernel::vector::normalize;

/// The embedder's name in SQL and on the command line.
pub const NAME: &str = "builtin:words";
/// The revision; it changes whenever the vectors change.
pub const REVISION: &str = "1";
/// The dimension of a vector.
pub const DIMENSION: usize = 1024;

/// Writes the vector of `text` to `vector`, which must be [`DIMENSION`] zeros.
pub fn embed(text: &str, vector: &mut [f32]) {
    let words: Vec<u64> = words(text)
        .iter()
        .map(|word| fnv1a(word.as_bytes()))
        .collect();
    let pairs = words
        .windows(2)
        .map(|pair| mix64(pair[0].rotate_left(21) ^ pair[1]));
    let mut features: Vec<u64> = words.iter().copied().chain(pairs).collect();
    features.sort_unstable();
    for run in features.chunk_by(u64::eq) {
        let feature = mix64(run[0]);
        let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
        vector[feature as usize % DIMENSION] += sign * (run.len() as f32).sqrt();
    }
    normalize(vector);
}

/// The words of a text in lower case: sequences of letters and digits, with inner apostrophes. In
/// scripts written without spaces every character is a word.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let apostrophe = matches!(character, '\'' | '\u{2019}')
            && !word.is_empty()
            && characters.peek().is_some_and(|next| next.is_alphanumeric());
        if is_unspaced(character) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            words.push(character.to_string());
        } else if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        } else if apostrophe {
            word.push('\'');
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Chinese, Japanese, Thai, Lao, Burmese and Khmer are written without spaces.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{20000}'..='\u{3ffff}')
        && character.is_alphanumeric()
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
    fn words_are_split_in_every_script() {
        assert_eq!(
            words("It\u{2019}s Tom's, 'tis 3.5!"),
            ["it's", "tom's", "tis", "3", "5"]
        );
        assert_eq!(
            words("\u{6d77}\u{306f} \u{00c9}t\u{00e9}"),
            ["\u{6d77}", "\u{306f}", "\u{e9}t\u{e9}"]
        );
        assert!(words(" \n--").is_empty());
    }

    #[test]
    fn similar_texts_are_close_and_different_texts_are_far_apart() {
        let a = vector("The keeper lit the lamp and waited for the boat.");
        let b = vector("The keeper lit the lamp and waited for the ship.");
        let c = vector("Dear committee, minutes are attached; please vote by Tuesday.");
        assert!((norm(&a) - 1.0).abs() < 1e-6);
        assert!(dot(&a, &b) > 0.7);
        assert!(dot(&a, &c).abs() < 0.3);
    }

    #[test]
    fn vectors_do_not_change_without_a_new_revision() {
        let v = vector("The sea left, and the sea came back.");
        let nonzero = v
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, value)| *value != 0.0);
        let first: Vec<(usize, f32)> = nonzero.take(4).collect();
        assert_eq!(
            first, PINNED,
            "the vectors changed: raise REVISION and pin the new ones"
        );
        assert!(vector("...").iter().all(|value| *value == 0.0));
    }

    const PINNED: [(usize, f32); 4] = [
        (68, 0.286_633_3),
        (73, -0.286_633_3),
        (122, 0.405_360_7),
        (162, 0.286_633_3),
    ];
}
