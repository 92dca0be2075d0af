//! `dcscore(embedding, tau)`: how surely is each text told from the others?

/// The sum over texts of the softmax of its similarities that falls on itself (Zhu et al. 2025,
/// `DCScore`): between 1 and n. None without a vector.
pub fn dcscore(cosines: &[f64], n: usize, tau: f64) -> Option<f64> {
    let on_itself = |i: usize| {
        let row = &cosines[i * n..(i + 1) * n];
        let own = row[i] / tau;
        let sum: f64 = row.iter().map(|cosine| (cosine / tau - own).exp()).sum();
        1.0 / sum
    };
    (n > 0).then(|| (0..n).map(on_itself).sum())
}
