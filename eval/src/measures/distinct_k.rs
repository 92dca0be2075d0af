//! `distinct_k(class)`: the number of equivalence classes among the texts (`NoveltyBench`).

use std::collections::HashSet;

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "distinct_k",
    function: Function::Classes(|classes, _| distinct_k(classes)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "NoveltyBench's distinct_k: how many classes of equivalent texts there are.",
    columns: &[Column::new("distinct_k", "Distinct")],
};

/// The number of equivalence classes among k texts (Zhang et al. 2025, `NoveltyBench`); 1 to k. `None`
/// without a text.
pub fn distinct_k(classes: &[i64]) -> Option<f64> {
    let new = first_of_class(classes).filter(|is_new| *is_new).count();
    (!classes.is_empty()).then_some(new as f64)
}

/// For each text: whether it is the first one of its class.
pub(super) fn first_of_class(classes: &[i64]) -> impl Iterator<Item = bool> {
    let mut seen = HashSet::new();
    classes.iter().map(move |class| seen.insert(*class))
}
