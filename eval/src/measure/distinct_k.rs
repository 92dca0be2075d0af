//! `distinct_k(class)`: how many of the texts say something of their own?

use std::collections::HashSet;

/// How many classes there are among the first k texts, where equivalent texts have one class (Zhang
/// et al. 2025, `NoveltyBench`). None without a text.
pub fn distinct_k(classes: &[i64]) -> Option<f64> {
    let new = first_of_class(classes).filter(|is_new| *is_new).count();
    (!classes.is_empty()).then_some(new as f64)
}

/// Whether each text is the first of its class.
pub(super) fn first_of_class(classes: &[i64]) -> impl Iterator<Item = bool> {
    let mut seen = HashSet::new();
    classes.iter().map(move |class| seen.insert(*class))
}

/// The classes of texts from whether two are equivalent: each text goes to the first class whose
/// first member it is equivalent to, or opens one (`NoveltyBench`, `partition.py`).
pub fn partition(n: usize, mut equivalent: impl FnMut(usize, usize) -> bool) -> Vec<i64> {
    let mut firsts: Vec<usize> = Vec::new();
    let mut class = |text: usize| {
        let known = firsts.iter().position(|&first| equivalent(first, text));
        known.unwrap_or_else(|| {
            firsts.push(text);
            firsts.len() - 1
        }) as i64
    };
    (0..n).map(&mut class).collect()
}
