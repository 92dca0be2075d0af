//! `MinHash`: the pairs of texts whose sets of word pairs have a high Jaccard similarity, without comparing all
//! texts with all (Broder 1997; banding: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
//!
//! A text is the set of its pairs of adjacent words. Of each set 125 hash functions keep the least value, in
//! 25 bands of 5. Texts that agree in a whole band are candidates: two texts of similarity 0.8 are missed with
//! a probability of 5e-5, two of similarity 0.1 are candidates with 2.5e-4. The similarity of candidates is
//! then computed exactly, so that the result has no false pair. The hash functions are fixed.

use std::collections::HashMap;

use rayon::prelude::*;

const BANDS: usize = 25;
const ROWS: usize = 5;

/// The pairs of texts `(a, b, similarity)`, `a < b`, whose Jaccard similarity is at least `threshold` in
/// (0, 1], sorted. The texts are given as the sets of [`word_pairs`].
pub fn similar_pairs(sets: &[Vec<u64>], threshold: f64) -> Vec<(usize, usize, f64)> {
    let mut candidates = Vec::new();
    // A band at a time, so that only one table of buckets is in memory.
    for band in 0..BANDS {
        let keys: Vec<u64> = sets.par_iter().map(|set| band_key(set, band)).collect();
        let mut buckets: HashMap<u64, Vec<usize>> = HashMap::new();
        for (text, key) in keys.into_iter().enumerate() {
            buckets.entry(key).or_default().push(text);
        }
        for members in buckets.into_values() {
            for (position, first) in members.iter().enumerate() {
                let later = members.get(position + 1..).unwrap_or_default();
                candidates.extend(later.iter().map(|second| (*first, *second)));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
    }
    candidates
        .into_par_iter()
        .map(|(first, second)| (first, second, jaccard(&sets[first], &sets[second])))
        .filter(|(_, _, similarity)| *similarity >= threshold)
        .collect()
}

/// The hashes of a text's pairs of adjacent words, sorted and distinct; of a text of one word that word. The
/// text is normalized: words between single spaces.
pub fn word_pairs(text: &str) -> Vec<u64> {
    let words: Vec<u64> = text.split(' ').map(hash).collect();
    let mut pairs: Vec<u64> = match words.as_slice() {
        [only] => vec![*only],
        words => words
            .windows(2)
            .map(|pair| mix(pair[0].rotate_left(1) ^ mix(pair[1])))
            .collect(),
    };
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The intersection over the union of two sorted sets; 0 for two empty ones.
fn jaccard(first: &[u64], second: &[u64]) -> f64 {
    let common = first
        .iter()
        .filter(|value| second.binary_search(value).is_ok());
    let common = common.count();
    let union = first.len() + second.len() - common;
    common as f64 / union.max(1) as f64
}

/// The least values of a band's hash functions, as one key.
fn band_key(set: &[u64], band: usize) -> u64 {
    (0..ROWS).fold(0, |key, row| {
        let function = mix((band * ROWS + row) as u64 + 1);
        let least = set.iter().map(|value| mix(value ^ function)).min();
        mix(key ^ least.unwrap_or_default())
    })
}

/// FNV-1a of a word: the same on every machine.
fn hash(word: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(word.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014), which spreads all bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Texts of 12 to 30 words from a small vocabulary, half of them copies with few words changed.
    fn texts(count: usize) -> Vec<String> {
        let mut state = 7;
        let mut next = move |below: u64| {
            state = mix(state);
            (state % below) as usize
        };
        let mut texts: Vec<Vec<String>> = Vec::new();
        for number in 0..count {
            let mut words: Vec<String> = match texts.get(next(number.max(1) as u64)) {
                Some(earlier) if number % 2 == 1 => earlier.clone(),
                _ => (0..12 + next(18))
                    .map(|_| format!("w{}", next(300)))
                    .collect(),
            };
            for _ in 0..next(4) {
                let at = next(words.len() as u64);
                words[at] = format!("w{}", next(300));
            }
            texts.push(words);
        }
        texts.iter().map(|words| words.join(" ")).collect()
    }

    /// The similarity by the sets of the words themselves.
    fn by_definition(first: &str, second: &str) -> f64 {
        let set = |text: &str| -> BTreeSet<(String, String)> {
            let words: Vec<&str> = text.split(' ').collect();
            let pairs = words.windows(2);
            pairs
                .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
                .collect()
        };
        let (first, second) = (set(first), set(second));
        first.intersection(&second).count() as f64 / first.union(&second).count() as f64
    }

    #[test]
    fn the_pairs_are_those_of_a_comparison_of_all_with_all() {
        let texts = texts(250);
        let mut expected = Vec::new();
        for (a, first) in texts.iter().enumerate() {
            for (b, second) in texts.iter().enumerate().skip(a + 1) {
                let similarity = by_definition(first, second);
                if similarity >= 0.8 {
                    expected.push((a, b, similarity));
                }
            }
        }
        assert!(expected.len() > 20, "{}", expected.len());
        let sets: Vec<Vec<u64>> = texts.iter().map(|text| word_pairs(text)).collect();
        assert_eq!(similar_pairs(&sets, 0.8), expected);
    }

    #[test]
    fn short_texts_are_similar_only_if_equal() {
        let texts = ["door", "door", "a door", "the door", ""].map(word_pairs);
        assert_eq!(similar_pairs(&texts, 0.8), [(0, 1, 1.0)]);
        assert_eq!(similar_pairs(&[], 0.8), []);
    }
}
