//! `semantic_entropy(class)`: how evenly do the texts spread over meanings?

use std::collections::BTreeMap;

/// -sum p ln p over classes of equal meaning, in nats (Farquhar et al. 2024, discrete form). Too low
/// for few texts. None without a text.
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
