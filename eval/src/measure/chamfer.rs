//! `chamfer(embedding)`: how far is each text from the one next to it?

/// The mean over texts of the smallest 1 - cosine to another (the package `diversity`,
/// `chamfer_dist`): near zero as soon as each text has a twin, however far the twins are apart. None
/// for fewer than two vectors.
pub fn chamfer(cosines: &[f64], n: usize) -> Option<f64> {
    let nearest = |i: usize| {
        let others = (0..n).filter(|&j| j != i);
        let distances = others.map(|j| 1.0 - cosines[i * n + j]);
        distances.fold(f64::INFINITY, f64::min)
    };
    (n > 1).then(|| (0..n).map(nearest).sum::<f64>() / n as f64)
}
