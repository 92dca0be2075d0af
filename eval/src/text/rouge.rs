//! ROUGE: ROUGE-1 and ROUGE-L F1 of texts as token ids (Lin 2004; `rouge_score`).

use crate::stats::mean::mean_of_pairs;

use super::tokenization::{TokenIds, Tokenization};

/// The mean ROUGE-1 F1 (unigram overlap) over all pairs of texts; 0 to 1. `None` for fewer than two texts.
pub fn rouge_1(texts: &[&str]) -> Option<f64> {
    let words = TokenIds::new(texts, Tokenization::Rouge);
    mean_of_pairs(words.texts.len(), |i, j| rouge_1_of(&words, i, j))
}

/// The ROUGE-1 F1 of the texts with indices `i` and `j`.
pub fn rouge_1_of(words: &TokenIds, i: usize, j: usize) -> f64 {
    let (a, b) = (&words.texts[i], &words.texts[j]);
    f1(multiset_overlap(a, b, words.vocab_size), a.len(), b.len())
}

/// The size of the multiset intersection of two texts: each word counts the smaller of its two counts.
pub fn multiset_overlap(a: &[u32], b: &[u32], vocab_size: usize) -> usize {
    let mut counts = vec![0_usize; vocab_size];
    for &word in a {
        counts[word as usize] += 1;
    }
    let mut shared = 0;
    for &word in b {
        let left = &mut counts[word as usize];
        if *left > 0 {
            *left -= 1;
            shared += 1;
        }
    }
    shared
}

/// The F1 of `shared` common words of two texts with `a` and `b` words.
pub fn f1(shared: usize, a: usize, b: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / b as f64, shared as f64 / a as f64);
    2.0 * precision * recall / (precision + recall)
}

/// The bit-parallel algorithm for the longest common subsequence (LCS): 64 cells of the table at a time (Hyyrö
/// 2004). Reuses its buffers between calls.
#[derive(Debug)]
pub struct LcsMatcher {
    /// By token id: the row of `places` for a word of the shorter text, from 1; 0 for other words.
    row: Vec<u32>,
    /// For each unique word of the shorter text: the bit set of its positions, in blocks of 64.
    places: Vec<u64>,
    columns: Vec<u64>,
}

impl LcsMatcher {
    /// A matcher for token ids below `vocab_size`.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            row: vec![0; vocab_size],
            places: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// The ROUGE-L F1 of two texts, 0 to 1 (`rouge_score`: `rougeL`, `fmeasure`).
    pub fn rouge_l(&mut self, a: &[u32], b: &[u32]) -> f64 {
        f1(self.common(a, b), a.len(), b.len())
    }

    /// The length of the longest common subsequence of two texts.
    pub fn common(&mut self, a: &[u32], b: &[u32]) -> usize {
        // Bit sets are of the shorter text: their total size grows with the square of its length.
        let (a, b) = if a.len() > b.len() { (b, a) } else { (a, b) };
        let blocks = a.len().div_ceil(64);
        self.places.clear();
        for (at, &word) in a.iter().enumerate() {
            let row = &mut self.row[word as usize];
            if *row == 0 {
                self.places.resize(self.places.len() + blocks, 0);
                *row = (self.places.len() / blocks) as u32;
            }
            self.places[(*row as usize - 1) * blocks + at / 64] |= 1 << (at % 64);
        }
        // A zero bit at i means that the LCS with the first i + 1 words of `a` is one word longer than with i.
        self.columns.clear();
        self.columns.resize(blocks, u64::MAX);
        for &word in b {
            let row = self.row[word as usize] as usize;
            if row == 0 {
                continue;
            }
            let positions = &self.places[(row - 1) * blocks..row * blocks];
            let mut carry = false;
            for (column, &matches) in self.columns.iter_mut().zip(positions) {
                let both = *column & matches;
                let (sum, first) = column.overflowing_add(both);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                carry = first || second;
                *column = sum | (*column & !matches);
            }
        }
        for &word in a {
            self.row[word as usize] = 0;
        }
        let beyond = blocks * 64 - a.len();
        let zeros: u32 = self.columns.iter().map(|column| column.count_zeros()).sum();
        // Bits of the last block beyond the end of the text never match, so they stay set and count no zeros.
        debug_assert!(beyond < 64);
        zeros as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length of the longest common subsequence by the textbook dynamic program.
    fn by_dynamic_program(a: &[u32], b: &[u32]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y {
                    diagonal + 1
                } else {
                    above.max(row[j])
                };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn bit_parallel_lcs_equals_the_dynamic_program(
            a in prop::collection::vec(0_u32..12, 0..200),
            b in prop::collection::vec(0_u32..12, 0..200),
        ) {
            let mut matcher = LcsMatcher::new(12);
            prop_assert_eq!(matcher.common(&a, &b), by_dynamic_program(&a, &b));
            prop_assert_eq!(matcher.common(&b, &a), by_dynamic_program(&a, &b));
        }
    }
}
