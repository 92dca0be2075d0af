//! Equivalence classes of texts: two texts are equivalent if their ROUGE-1 F1 is high.

use super::rouge::rouge_1_of;
use super::tokenization::{TokenIds, Tokenization};

/// ROUGE-1 F1 above which two texts count as equivalent (Zhang et al. 2025, `NoveltyBench`,
/// `partition.py`: the unigram rule). Its trained classifier judges better: where a file has its classes,
/// take those.
pub const ROUGE_1_THRESHOLD: f64 = 0.458;

/// The class of each text: that of the first text whose ROUGE-1 with it is above [`ROUGE_1_THRESHOLD`], or a new one.
pub fn classes(texts: &[&str]) -> Vec<i64> {
    let words = TokenIds::new(texts, Tokenization::Rouge);
    partition(texts.len(), |i, j| {
        texts[i] == texts[j] || rouge_1_of(&words, i, j) > ROUGE_1_THRESHOLD
    })
}

/// The classes of texts from whether two are equivalent: each text goes to the first class whose
/// first member it is equivalent to, or opens one (`NoveltyBench`, `partition.py`).
pub fn partition(n: usize, mut equivalent: impl FnMut(usize, usize) -> bool) -> Vec<i64> {
    let mut firsts: Vec<usize> = Vec::new();
    let mut class = |text: usize| {
        let known = firsts.iter().position(|&first| equivalent(first, text));
        known.unwrap_or_else(|| {
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
