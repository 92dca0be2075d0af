//! Vector kernels: dot product, Euclidean norm and L2 normalisation of f32 slices.

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
