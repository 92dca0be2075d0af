//! Vendi score: `vendi(embedding, q)`, the effective number of different texts.

use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter};
use crate::space::Space;

/// The measure, for the registry.
pub const MEASURE: Measure = Measure {
    name: "vendi",
    function: Function::Cosines(|cosines, n, parameters| vendi(cosines, n, parameters[0])),
    parameters: &[Parameter {
        name: "q",
        default: 1.0,
        range: ParamRange::NotNegative,
    }],
    group: Group::Vectors,
    direction: Direction::Higher,
    description: "The Vendi score of order q: how many different embeddings there are, in effect.",
    columns: &[
        Column::of_space(
            Space::Semantic,
            "semantic_vendi",
            "Semantic Vendi",
            "The Vendi score of the semantic embeddings: how many different texts there are, in effect.",
        ),
        Column::of_space(
            Space::Style,
            "style_vendi",
            "Style Vendi",
            "The Vendi score of the style embeddings.",
        ),
    ],
};

/// The exponential of the Rényi entropy of order `q` of the eigenvalues of K / n (Friedman & Dieng
/// 2023; Pasarkar & Dieng 2024): 1 for equal texts, n for texts without anything in common. `q` 1 is
/// Shannon's, infinity counts the largest alone. Compare equal n only: it grows with n. None without
/// a vector.
pub fn vendi(cosines: &[f64], n: usize, q: f64) -> Option<f64> {
    if n == 0 || q.is_nan() || q < 0.0 {
        return None;
    }
    let matrix = cosines.iter().map(|cosine| cosine / n as f64).collect();
    // Rounding leaves eigenvalues near zero that a power below one would blow up.
    let noise = 1e-14 * n as f64;
    let shares = eigenvalues(matrix, n)
        .into_iter()
        .filter(|value| *value > noise);
    let shares: Vec<f64> = shares.collect();
    Some(if q == 1.0 {
        (-shares.iter().map(|share| share * share.ln()).sum::<f64>()).exp()
    } else if q.is_infinite() {
        1.0 / shares.iter().copied().fold(0.0, f64::max)
    } else {
        let powers: f64 = shares.iter().map(|share| share.powf(q)).sum();
        (powers.ln() / (1.0 - q)).exp()
    })
}

/// The eigenvalues of a symmetric matrix, by Jacobi's rotations, largest first.
pub fn eigenvalues(mut matrix: Vec<f64>, n: usize) -> Vec<f64> {
    for _ in 0..100 {
        let above = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let off: f64 = above.clone().map(|(i, j)| matrix[i * n + j].powi(2)).sum();
        if off < 1e-32 {
            break;
        }
        for (p, q) in above {
            rotate(&mut matrix, n, p, q);
        }
    }
    let mut values: Vec<f64> = (0..n).map(|i| matrix[i * n + i]).collect();
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values
}

/// Turns rows and columns `p` and `q` so that their common cell becomes zero.
fn rotate(matrix: &mut [f64], n: usize, p: usize, q: usize) {
    let cell = matrix[p * n + q];
    if cell == 0.0 {
        return;
    }
    let theta = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * cell);
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cos = 1.0 / tangent.hypot(1.0);
    let sin = tangent * cos;
    for k in 0..n {
        let (kp, kq) = (matrix[k * n + p], matrix[k * n + q]);
        matrix[k * n + p] = cos * kp - sin * kq;
        matrix[k * n + q] = sin * kp + cos * kq;
    }
    for k in 0..n {
        let (pk, qk) = (matrix[p * n + k], matrix[q * n + k]);
        matrix[p * n + k] = cos * pk - sin * qk;
        matrix[q * n + k] = sin * pk + cos * qk;
    }
}
