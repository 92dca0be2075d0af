//! Which texts say the same? Classes by the words that texts share.

use super::distinct_k::partition;
use super::homogenization::rouge_1_of;
use crate::words::{Tokenization, Words};

/// ROUGE-1 F1 above which two texts count as equivalent (Zhang et al. 2025, `NoveltyBench`,
/// `partition.py`: the unigram rule). Its trained classifier judges better: where a file has its classes,
/// take those.
pub const ALIKE: f64 = 0.458;

/// The class of each text: that of the first text whose ROUGE-1 with it is above [`ALIKE`], or a new one.
pub fn classes(texts: &[&str]) -> Vec<i64> {
    let words = Words::of(texts, Tokenization::Rouge);
    partition(texts.len(), |i, j| {
        texts[i] == texts[j] || rouge_1_of(&words, i, j) > ALIKE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_most_words_are_of_one_class() {
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
