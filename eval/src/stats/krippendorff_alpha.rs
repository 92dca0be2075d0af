//! Krippendorff's alpha: inter-annotator agreement.

use std::collections::BTreeMap;

/// Krippendorff's alpha for nominal data (Krippendorff 2011): 1 for full agreement, 0 for agreement at chance
/// level, negative below that. `items` are the answers by item; items with fewer than two answers are ignored.
/// `None` where no item has two answers, or all answers are equal.
pub fn alpha(items: &[Vec<&str>]) -> Option<f64> {
    let counted: Vec<BTreeMap<&str, f64>> = items
        .iter()
        .filter(|answers| answers.len() > 1)
        .map(|answers| {
            let mut counts = BTreeMap::new();
            for answer in answers {
                *counts.entry(*answer).or_insert(0.0) += 1.0;
            }
            counts
        })
        .collect();
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for (answer, count) in counted.iter().flatten() {
        *totals.entry(answer).or_default() += count;
    }
    let n: f64 = totals.values().sum();
    let observed: f64 = counted
        .iter()
        .map(|counts| {
            let m: f64 = counts.values().sum();
            let same: f64 = counts.values().map(|count| count * (count - 1.0)).sum();
            (m * (m - 1.0) - same) / (m - 1.0)
        })
        .sum();
    let same: f64 = totals.values().map(|total| total * (total - 1.0)).sum();
    let expected = (n * (n - 1.0) - same) / (n - 1.0);
    let alpha = 1.0 - observed / expected;
    alpha.is_finite().then_some(alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_of_the_published_example() {
        // Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section B: two observers,
        // ten articles, two values; alpha 0.095.
        let first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0];
        let second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0];
        let name = |value: i32| if value == 0 { "no" } else { "yes" };
        let items: Vec<Vec<&str>> = first
            .into_iter()
            .zip(second)
            .map(|(a, b)| vec![name(a), name(b)])
            .collect();
        let computed = alpha(&items).unwrap();
        assert!((computed - 0.095).abs() < 0.0005, "{computed}");
        assert_eq!(alpha(&[vec!["a", "a"], vec!["b", "b"]]), Some(1.0));
        assert_eq!(alpha(&[vec!["a", "a"], vec!["a"]]), None);
    }
}
