//! Mean pairwise cosine distance: `mean_distance(embedding)`, the paper's diversity of a set.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::space::Space;
use crate::stats::mean::mean_of_pairs;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "mean_distance",
    function: Function::Cosines(|cosines, n, _| mean_distance(cosines, n)),
    parameters: &[],
    group: Group::Vectors,
    size: SetSize::MeanOverPairs,
    direction: Direction::Higher,
    description: "The mean of 1 - cosine of all pairs of embeddings: the paper's diversity of a set.",
    columns: &[
        Column::of_space(
            Space::Semantic,
            "semantic",
            "Semantic diversity",
            "The mean of 1 - cosine of all pairs of semantic embeddings.",
        ),
        Column::of_space(
            Space::Style,
            "style",
            "Style diversity",
            "The mean of 1 - cosine of all pairs of style embeddings.",
        ),
    ],
};

/// The mean cosine distance (1 - cosine) over all pairs of texts; 0 to 2. This is the paper's diversity of a
/// set (Chung et al. 2025, section 4), and equals the mean deviation of its texts. `None` for fewer than two
/// vectors.
pub fn mean_distance(cosines: &[f64], n: usize) -> Option<f64> {
    mean_of_pairs(n, |i, j| 1.0 - cosines[i * n + j])
}
