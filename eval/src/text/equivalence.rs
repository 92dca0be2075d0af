//! Equivalence classes of texts: two texts are equivalent if their ROUGE-1 F1 is high.

use super::rouge::rouge_1_of;
use super::tokenization::{TokenIds, Tokenization};

/// The ROUGE-1 F1 above which two texts count as equivalent (Zhang et al. 2025, `NoveltyBench`,
/// `partition.py`: the unigram rule). `NoveltyBench`'s trained classifier is more accurate: prefer its classes
/// where a file has them.
pub const ROUGE_1_THRESHOLD: f64 = 0.458;

/// The equivalence class of each text, from 0: the first class whose first text has a ROUGE-1 F1 with it above
/// [`ROUGE_1_THRESHOLD`], or else a new class.
pub fn classes(texts: &[&str]) -> Vec<i64> {
    let words = TokenIds::new(texts, Tokenization::Rouge);
    partition(texts.len(), |i, j| {
        texts[i] == texts[j] || rouge_1_of(&words, i, j) > ROUGE_1_THRESHOLD
    })
}

/// Partitions `n` texts by a pairwise test: each text joins the first class whose first member it is equivalent
/// to, or else starts a new class (`NoveltyBench`, `partition.py`).
pub fn partition(n: usize, mut equivalent: impl FnMut(usize, usize) -> bool) -> Vec<i64> {
    let mut firsts: Vec<usize> = Vec::new();
    let mut class = |text: usize| {
        let existing = firsts.iter().position(|&first| equivalent(first, text));
        existing.unwrap_or_else(|| {
            firsts.push(text);
            firsts.len() - 1
        }) as i64
    };
    (0..n).map(&mut class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_most_words_have_the_same_class() {
        let texts = [
            "the cat sat on the mat",
            "a dog ran off",
            "the cat lay on the mat",
            "",
            "a dog ran off",
        ];
        assert_eq!(classes(&texts), [0, 1, 0, 2, 1]);
        assert_eq!(classes(&[]), Vec::<i64>::new());
    }
}
