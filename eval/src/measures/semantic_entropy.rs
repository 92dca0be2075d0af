//! Semantic entropy: `semantic_entropy(class)`, the entropy of the equivalence classes.

use std::collections::BTreeMap;

use super::measure::{Direction, Function, Group, Measure, SetSize};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "semantic_entropy",
    function: Function::Classes(|classes, _| semantic_entropy(classes)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "The entropy of the classes of the texts, in nats.",
    columns: &[],
};

/// -sum p ln p over the shares p of the classes of equal meaning, in nats (Farquhar et al. 2024, discrete
/// form). Biased downwards for few texts. `None` without a text.
pub fn semantic_entropy(classes: &[i64]) -> Option<f64> {
    let mut counts = BTreeMap::new();
    for class in classes {
        *counts.entry(class).or_insert(0.0) += 1.0;
    }
    let n = classes.len() as f64;
    let terms = counts
        .values()
        .map(|count: &f64| -(count / n) * (count / n).ln());
    (!classes.is_empty()).then(|| terms.sum())
}
