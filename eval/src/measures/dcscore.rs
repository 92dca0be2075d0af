//! `DCScore`: `dcscore(embedding, tau)`, diversity as classification of each text against the others.

use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize};
use crate::space::Space;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "dcscore",
    function: Function::Cosines(|cosines, n, parameters| dcscore(cosines, n, parameters[0])),
    parameters: &[Parameter {
        name: "tau",
        default: 1.0,
        range: ParamRange::Positive,
    }],
    group: Group::Vectors,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "The sum over embeddings of the softmax of cosines over tau that falls on itself.",
    columns: &[
        Column::of_space(
            Space::Semantic,
            "semantic_dcscore",
            "Semantic DCScore",
            "The sum over texts of the softmax of semantic cosines that falls on the text itself.",
        ),
        Column::of_space(
            Space::Style,
            "style_dcscore",
            "Style DCScore",
            "The sum over texts of the softmax of style cosines that falls on the text itself.",
        ),
    ],
};

/// `DCScore` (Zhu et al. 2025): the trace of the row-wise softmax of the cosine similarities divided by the
/// temperature `tau`; between 1 (equal texts) and n. `None` without a vector.
pub fn dcscore(cosines: &[f64], n: usize, tau: f64) -> Option<f64> {
    let on_itself = |i: usize| {
        let row = &cosines[i * n..(i + 1) * n];
        let own = row[i] / tau;
        let sum: f64 = row.iter().map(|cosine| (cosine / tau - own).exp()).sum();
        1.0 / sum
    };
    (n > 0).then(|| (0..n).map(on_itself).sum())
}
