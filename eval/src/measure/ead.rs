//! `ead(text, n)`: how many different words are there, next to how many there would be by chance?

use super::distinct_n::counts;

/// The vocabulary that systems are compared over, unless another is given.
pub const VOCABULARY: f64 = 50_000.0;

/// Expectation-adjusted distinct: different runs of `n` words over how many one would expect among
/// as many drawn from `vocabulary` (Liu et al. 2022, equation 5). Less a matter of length than
/// [`super::distinct_n`]. None where no text has `n` words.
pub fn ead(texts: &[&str], n: usize, vocabulary: f64) -> Option<f64> {
    let (different, all) = counts(texts, n);
    let missed = ((vocabulary - 1.0) / vocabulary).powf(all as f64);
    (all > 0).then(|| different as f64 / (vocabulary * (1.0 - missed)))
}
