//! Weights of pairs: min-max scaled deviations, geometric mean over spaces, mean 1 per prompt.

use arrow::array::Float64Array;
use arrow::compute::sum;

/// Min-max scaling to `[0, 1]`; if all values are equal, each is 0.5. NaN stays NaN, and does not count among
/// the others.
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
            if max > min || value.is_nan() {
                (value - min) / (max - min)
            } else {
                0.5
            }
        })
        .collect()
}

/// The values divided by their mean; 1 where all are equal, zero too. The sum has the lanes of Arrow's kernel,
/// as `avg(..) OVER (..)` in SQL, so both give the same bits for values in the same order.
///
/// ```
/// assert_eq!(polyphony_engine::weight::mean_one(&[1.0, 3.0]), [0.5, 1.5]);
/// assert_eq!(polyphony_engine::weight::mean_one(&[0.0, 0.0]), [1.0, 1.0]);
/// ```
pub fn mean_one(values: &[f64]) -> Vec<f64> {
    if values.iter().all(|value| *value == values[0]) {
        return vec![1.0; values.len()];
    }
    let total = sum(&Float64Array::from(values.to_vec())).unwrap_or_default();
    let mean = total / values.len() as f64;
    values.iter().map(|value| value / mean).collect()
}

/// The weights of one prompt's responses from their deviations, a slice per space: each space is
/// min-max scaled; the geometric mean over the spaces is divided by its mean over the prompt (Chung et
/// al. 2025, section 3). The SQL function (`functions/weight.rs`) is the same formula over columns that may
/// have NULL; tests compare the two.
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
            geometric_mean(product, spaces.len())
        })
        .collect();
    mean_one(&combined)
}

/// The geometric mean of `count` values from their product.
fn geometric_mean(product: f64, count: usize) -> f64 {
    match count {
        1 => product,
        // Correctly rounded, unlike a power.
        2 => product.sqrt(),
        _ => product.powf(1.0 / count as f64),
    }
}
