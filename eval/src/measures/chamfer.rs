//! Chamfer distance: `chamfer(embedding)`, the mean distance of each text to its nearest neighbour.

use super::measure::{Column, Direction, Function, Group, Measure};
use crate::space::Space;

/// The measure, for the registry.
pub const MEASURE: Measure = Measure {
    name: "chamfer",
    function: Function::Cosines(|cosines, n, _| chamfer(cosines, n)),
    parameters: &[],
    group: Group::Vectors,
    direction: Direction::Higher,
    description: "The mean over embeddings of the smallest 1 - cosine to another.",
    columns: &[
        Column::of_space(
            Space::Semantic,
            "semantic_chamfer",
            "Semantic chamfer",
            "The mean semantic distance of each text to the one nearest to it.",
        ),
        Column::of_space(
            Space::Style,
            "style_chamfer",
            "Style chamfer",
            "The mean style distance of each text to the one nearest to it.",
        ),
    ],
};

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
