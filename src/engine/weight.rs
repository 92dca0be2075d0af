//! Weights of pairs: min-max scaled deviations, geometric mean over spaces, mean 1 per prompt.

/// Min-max scaling to `[0, 1]`; if all values are equal, each is 0.5.
///
/// ```
/// assert_eq!(polyphony_engine::weight::min_max(&[2.0, 4.0, 3.0]), [0.0, 1.0, 0.5]);
/// assert_eq!(polyphony_engine::weight::min_max(&[7.0, 7.0]), [0.5, 0.5]);
/// ```
pub fn min_max(values: &[f64]) -> Vec<f64> {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values
        .iter()
        .map(|value| {
            if max > min {
                (value - min) / (max - min)
            } else {
                0.5
            }
        })
        .collect()
}

/// The weights of one prompt's responses from their deviations, a slice per space: each space is
/// min-max scaled; the geometric mean over the spaces is divided by its mean over the prompt (Chung et
/// al. 2025).
///
/// This is the test oracle for `sql/50_weights.sql`, which computes the same with window functions.
///
/// ```
/// let weights = polyphony_engine::weight::weights(&[&[1.0, 3.0, 2.0]]);
/// assert_eq!(weights, [0.0, 2.0, 1.0]);
/// ```
pub fn weights(spaces: &[&[f64]]) -> Vec<f64> {
    let Some(first) = spaces.first() else {
        return Vec::new();
    };
    let scaled: Vec<Vec<f64>> = spaces.iter().map(|space| min_max(space)).collect();
    let combined: Vec<f64> = (0..first.len())
        .map(|i| {
            let product: f64 = scaled.iter().map(|space| space[i]).product();
            product.powf(1.0 / spaces.len() as f64)
        })
        .collect();
    let mean = combined.iter().sum::<f64>() / combined.len() as f64;
    if combined.iter().all(|value| *value == combined[0]) {
        return vec![1.0; combined.len()];
    }
    combined.iter().map(|value| value / mean).collect()
}
