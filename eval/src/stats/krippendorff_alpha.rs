//! Krippendorff's alpha: agreement of annotators.

use std::collections::BTreeMap;

/// Krippendorff's alpha for names (2011, nominal): 1 where all agree, 0 where they agree as often as
/// chance would, below where less. Items with fewer than two answers do not count. None where nothing
/// can be compared, or all answers are the same.
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
    fn the_example_of_the_author() {
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
        let found = alpha(&items).unwrap();
        assert!((found - 0.095).abs() < 0.0005, "{found}");
        assert_eq!(alpha(&[vec!["a", "a"], vec!["b", "b"]]), Some(1.0));
        assert_eq!(alpha(&[vec!["a", "a"], vec!["a"]]), None);
    }
}
