//! Vendi score: `vendi(embedding, q)`, the effective number of different texts.

use nalgebra::DMatrix;

use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize};
use crate::space::Space;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "vendi",
    function: Function::Cosines(|cosines, n, parameters| vendi(cosines, n, parameters[0])),
    parameters: &[Parameter {
        name: "q",
        default: 1.0,
        range: ParamRange::NotNegative,
    }],
    group: Group::Vectors,
    size: SetSize::OfSet,
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

/// The exponential of the Rényi entropy of order `q` of the eigenvalues of K / n, where K is the matrix of
/// cosines (Friedman & Dieng 2023; Pasarkar & Dieng 2024): 1 for equal texts, n for orthogonal embeddings.
/// `q` = 1 is the Shannon entropy; `q` = infinity uses the largest eigenvalue only. Grows with n, so only
/// values of equal n are comparable. `None` without a vector, if `q` is negative or NaN, or if a cosine is not finite.
pub fn vendi(cosines: &[f64], n: usize, q: f64) -> Option<f64> {
    let is_finite = cosines.iter().all(|cosine| cosine.is_finite());
    if n == 0 || q.is_nan() || q < 0.0 || !is_finite {
        return None;
    }
    let matrix: Vec<f64> = cosines.iter().map(|cosine| cosine / n as f64).collect();
    // Rounding leaves eigenvalues near zero that a power below one would blow up.
    let noise = 1e-14 * n as f64;
    let shares = eigenvalues(&matrix, n)
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

/// The eigenvalues of a symmetric matrix of n rows, largest first.
pub fn eigenvalues(matrix: &[f64], n: usize) -> Vec<f64> {
    let matrix = DMatrix::from_row_slice(n, n, matrix);
    let mut values = matrix.symmetric_eigenvalues().as_slice().to_vec();
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values
}
