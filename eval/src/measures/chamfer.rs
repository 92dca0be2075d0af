//! Chamfer distance: `chamfer(embedding)`, the mean distance of each text to its nearest neighbour.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::space::Space;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "chamfer",
    function: Function::Cosines(|cosines, n, _| chamfer(cosines, n)),
    parameters: &[],
    group: Group::Vectors,
    size: SetSize::OfSet,
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

/// The mean over texts of the cosine distance (1 - cosine, 0 to 2) to the nearest other text (Python package
/// `diversity`, `chamfer_dist`). Near 0 as soon as each text has a near-duplicate, however far apart the
/// pairs of duplicates are. `None` for fewer than two vectors.
pub fn chamfer(cosines: &[f64], n: usize) -> Option<f64> {
    let nearest = |i: usize| {
        let others = (0..n).filter(|&j| j != i);
        let distances = others.map(|j| 1.0 - cosines[i * n + j]);
        distances.fold(f64::INFINITY, f64::min)
    };
    (n > 1).then(|| (0..n).map(nearest).sum::<f64>() / n as f64)
}
