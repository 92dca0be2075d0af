//! `homogenization(text)`: how much of one text stands in another, in the same order?

use super::mean_of_pairs;
use crate::words::{Tokenization, Words};

/// The mean ROUGE-L F1 of all pairs of texts (Padmakumar & He 2023; Lin 2004). 1 for equal texts,
/// empty ones too, 0 without a word in common. None for fewer than two texts.
///
/// The package `diversity` divides by zero for one text, and calls texts without a word in common
/// identical; the copy in the paper's code loses the last text: see [`reference_homogenization`].
pub fn homogenization(texts: &[&str]) -> Option<f64> {
    let words = Words::of(texts, Tokenization::Rouge);
    let mut matcher = LcsMatcher::new(words.vocab_size);
    mean_of_pairs(words.texts.len(), |i, j| {
        if texts[i] == texts[j] {
            return 1.0;
        }
        matcher.rouge_l(&words.texts[i], &words.texts[j])
    })
}

/// What the copy in the paper's code gives, which published values of the paper are: each text's mean
/// over the others is added up when the next, unequal text begins, so the last is lost, and equal
/// neighbours count as one. 0.75 of the true value for four texts, 3 for four that are equal, 0 for
/// one; letters a to z alone.
pub fn reference_homogenization(texts: &[&str]) -> Option<f64> {
    let n = texts.len();
    let words = Words::of(texts, Tokenization::AsciiRouge);
    let mut matcher = LcsMatcher::new(words.vocab_size);
    let mut alike = |i: usize, j: usize| {
        if texts[i] == texts[j] {
            return 1.0;
        }
        matcher.rouge_l(&words.texts[i], &words.texts[j])
    };
    let (mut booked, mut open) = (0.0, 0.0);
    for i in 0..n {
        if i > 0 && texts[i] != texts[i - 1] {
            booked += open / (n - 1) as f64;
            open = 0.0;
        }
        let others = (0..n).filter(|&j| j != i);
        open += others.map(|j| alike(i, j)).sum::<f64>();
    }
    let total = if booked == 0.0 { open } else { booked };
    (n > 0).then(|| total / n as f64)
}

/// The mean ROUGE-1 F1 of all pairs of texts: words in common, whatever their order.
pub fn rouge_1(texts: &[&str]) -> Option<f64> {
    let words = Words::of(texts, Tokenization::Rouge);
    mean_of_pairs(words.texts.len(), |i, j| rouge_1_of(&words, i, j))
}

/// The ROUGE-1 F1 of two texts by their places.
pub fn rouge_1_of(words: &Words, i: usize, j: usize) -> f64 {
    let (a, b) = (&words.texts[i], &words.texts[j]);
    f1(multiset_overlap(a, b, words.vocab_size), a.len(), b.len())
}

/// How many words two texts share, each as often as in the text that has it less often.
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

/// F1 of `shared` words between texts of `a` and `b` words.
pub fn f1(shared: usize, a: usize, b: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / b as f64, shared as f64 / a as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Finds longest common subsequences, 64 cells of the table at a time (Hyyrö 2004).
#[derive(Debug)]
pub struct LcsMatcher {
    /// The row of `places` that belongs to a word of the text at hand, from 1.
    row: Vec<u32>,
    /// For each word of that text, the places where it stands, as bits.
    places: Vec<u64>,
    columns: Vec<u64>,
}

impl LcsMatcher {
    /// For texts of this many different words.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            row: vec![0; vocab_size],
            places: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// ROUGE-L's F1 of two texts (`rouge_score`: `rougeL`, `fmeasure`).
    pub fn rouge_l(&mut self, a: &[u32], b: &[u32]) -> f64 {
        f1(self.common(a, b), a.len(), b.len())
    }

    /// The length of the longest common subsequence of two texts.
    pub fn common(&mut self, a: &[u32], b: &[u32]) -> usize {
        // The table is that of the shorter text: it grows with the square of its length.
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
        // A zero in column i says that the subsequence grew by a word with the i-th of `a`.
        self.columns.clear();
        self.columns.resize(blocks, u64::MAX);
        for &word in b {
            let row = self.row[word as usize] as usize;
            if row == 0 {
                continue;
            }
            let places = &self.places[(row - 1) * blocks..row * blocks];
            let mut carry = false;
            for (column, &place) in self.columns.iter_mut().zip(places) {
                let both = *column & place;
                let (sum, first) = column.overflowing_add(both);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                carry = first || second;
                *column = sum | (*column & !place);
            }
        }
        for &word in a {
            self.row[word as usize] = 0;
        }
        let beyond = blocks * 64 - a.len();
        let zeros: u32 = self.columns.iter().map(|column| column.count_zeros()).sum();
        // The last block's bits beyond the text have no place to match and stay set.
        debug_assert!(beyond < 64);
        zeros as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table, cell by cell.
    fn by_table(a: &[u32], b: &[u32]) -> usize {
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
        fn bits_and_table_agree(
            a in prop::collection::vec(0_u32..12, 0..200),
            b in prop::collection::vec(0_u32..12, 0..200),
        ) {
            let mut matcher = LcsMatcher::new(12);
            prop_assert_eq!(matcher.common(&a, &b), by_table(&a, &b));
            prop_assert_eq!(matcher.common(&b, &a), by_table(&a, &b));
        }
    }

    #[test]
    fn a_story_in_chinese_is_like_itself() {
        let texts = ["雪の王", "雪の女王"];
        assert!(homogenization(&texts).is_some_and(|alike| alike > 0.8));
        assert_eq!(reference_homogenization(&texts), Some(0.0));
    }
}
