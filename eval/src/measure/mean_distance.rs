//! `mean_distance(embedding)`: how far are the texts from each other?

use super::mean_of_pairs;

/// The mean of 1 - cosine over all pairs: the paper's diversity of a set (Chung et al. 2025, section
/// 4), which is the mean deviation of its texts. None for fewer than two vectors.
pub fn mean_distance(cosines: &[f64], n: usize) -> Option<f64> {
    mean_of_pairs(n, |i, j| 1.0 - cosines[i * n + j])
}
