//! What is measured of the texts to one prompt? Pure functions on texts, cosines and classes; one file
//! each, named as in SQL. All give None where they are not defined.

pub mod bleu;
pub mod chamfer;
pub mod classes;
pub mod compression_ratio;
pub mod compression_ratio_xz;
pub mod cosines;
pub mod dcscore;
pub mod distinct_k;
pub mod distinct_n;
pub mod ead;
pub mod homogenization;
pub mod mean_distance;
pub mod ngram_diversity;
pub mod ngrams;
pub mod pairwise_bleu;
pub mod self_bleu;
pub mod self_repetition;
pub mod semantic_entropy;
pub mod utility_k;
pub mod vendi;

#[cfg(test)]
mod golden;

/// The mean over all pairs of `n` things. None for fewer than two.
pub(crate) fn mean_of_pairs(n: usize, mut of: impl FnMut(usize, usize) -> f64) -> Option<f64> {
    let mut sum = 0.0;
    for i in 0..n {
        for j in i + 1..n {
            sum += of(i, j);
        }
    }
    (n > 1).then(|| sum / (n * (n - 1) / 2) as f64)
}
