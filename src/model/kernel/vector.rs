//! Vector kernels: dot product, Euclidean norm, L2 normalisation and weighted mean of f32 slices.

#![expect(
    clippy::inline_always,
    reason = "the kernels are compiled anew for every instruction set"
)]

/// The number of partial sums. It is the same on every machine, so that the same input gives the same bits
/// with SSE2, AVX2 and AVX-512. More of them would no longer fit into registers.
const LANES: usize = 16;

/// Dot product of two vectors of the same length: f32 partial sums, added up in f64.
///
/// ```
/// assert_eq!(polyphony_model::kernel::vector::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
/// ```
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] += x * y;
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

/// The Euclidean norm of a vector.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Scales a vector to Euclidean norm 1; a zero vector is unchanged.
pub fn normalize(a: &mut [f32]) {
    let length = norm(a);
    if length > 0.0 {
        for value in a {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

/// The mean of row vectors weighted by whole numbers: `rows` has shape (weights, n). Summed in f64, in order; the
/// weights must not all be 0.
///
/// ```
/// use polyphony_model::kernel::vector::weighted_mean;
/// assert_eq!(weighted_mean(&[1.0, 2.0, 5.0, 2.0], &[3, 1]), [2.0, 2.0]);
/// ```
pub fn weighted_mean(rows: &[f32], weights: &[usize]) -> Vec<f32> {
    let width = rows.len() / weights.len().max(1);
    let total = weights.iter().sum::<usize>() as f64;
    let mean = |column: usize| {
        let values = rows.iter().skip(column).step_by(width.max(1));
        let sum: f64 = values
            .zip(weights)
            .map(|(value, weight)| f64::from(*value) * *weight as f64)
            .sum();
        (sum / total) as f32
    };
    (0..width).map(mean).collect()
}
