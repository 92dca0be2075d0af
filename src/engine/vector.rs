//! What are the vectors' dot products, norms, deviations and weights? Pure maths on slices.

#![expect(
    clippy::inline_always,
    reason = "the kernels are compiled anew for every instruction set"
)]

/// Sums are kept in this many lanes, whatever the machine: the same input gives the same bits
/// with SSE2, AVX2 or AVX-512 alike. With more, the compiler no longer keeps them in registers.
const LANES: usize = 16;

/// Up to this many vectors every pair's dot product is computed once, so that equal deviations
/// stay equal to the last bit; above, the closed form through the sum takes over.
pub const PAIRWISE_LIMIT: usize = 64;

/// The dot product of two vectors of one length, in f32 lanes that are added up in f64.
///
/// ```
/// assert_eq!(polyphony_engine::vector::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
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

/// The Euclidean length of a vector.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Scales a vector to length 1; a zero vector stays as it is.
pub fn normalize(a: &mut [f32]) {
    let length = norm(a);
    if length > 0.0 {
        for value in a {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

/// The deviation of every vector from the others: the mean of `1 - cosine` over all others
/// (Chung et al. 2025, section 3; DiversityTuning, `models/diversity_model.py`).
///
/// `vectors` holds `n` vectors of `dimension` values one after another; they need not be of
/// length 1, a zero vector has cosine 0 with every other. One vector alone has deviation 0.
///
/// ```
/// let square = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
/// assert_eq!(polyphony_engine::vector::deviations(&square, 2), [1.5, 1.0, 1.5]);
/// ```
pub fn deviations(vectors: &[f32], dimension: usize) -> Vec<f64> {
    if dimension == 0 {
        return Vec::new();
    }
    let rows: Vec<&[f32]> = vectors.chunks_exact(dimension).collect();
    deviations_of(&rows)
}

/// [`deviations`] of vectors that do not lie one after another.
pub fn deviations_of(rows: &[&[f32]]) -> Vec<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the line above saw that the CPU has AVX2")]
        // SAFETY: the function needs nothing but the instruction set that was detected.
        return unsafe { deviations_avx2(rows) };
    }
    deviations_on_any(rows)
}

/// The same code with wider registers: the lanes are the same, and so are the bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn deviations_avx2(rows: &[&[f32]]) -> Vec<f64> {
    deviations_on_any(rows)
}

#[inline(always)]
fn deviations_on_any(rows: &[&[f32]]) -> Vec<f64> {
    if rows.len() < 2 {
        return vec![0.0; rows.len()];
    }
    let inverse_length = |row: &&[f32]| {
        let length = dot(row, row).sqrt();
        if length > 0.0 { 1.0 / length } else { 0.0 }
    };
    let mut inverse = Vec::with_capacity(rows.len());
    for row in rows {
        inverse.push(inverse_length(row));
    }
    if rows.len() <= PAIRWISE_LIMIT {
        pairwise(rows, &inverse)
    } else {
        through_the_sum(rows, &inverse)
    }
}

/// Each pair's cosine once, added to both sides: equal by definition stays equal in bits. The
/// distances of a row are added in order of size, so the order of the rows changes nothing.
#[inline(always)]
fn pairwise(rows: &[&[f32]], inverse: &[f64]) -> Vec<f64> {
    let n = rows.len();
    let mut distances = vec![Vec::with_capacity(n - 1); n];
    for i in 0..n {
        for j in i + 1..n {
            let distance = 1.0 - dot(rows[i], rows[j]) * (inverse[i] * inverse[j]);
            distances[i].push(distance);
            distances[j].push(distance);
        }
    }
    let mean = |row: &mut Vec<f64>| {
        row.sort_unstable_by(f64::total_cmp);
        row.iter().sum::<f64>() / (n - 1) as f64
    };
    distances.iter_mut().map(mean).collect()
}

/// `(n - e_i . S) / (n - 1)` with S the sum of the unit vectors in f64.
#[inline(always)]
fn through_the_sum(rows: &[&[f32]], inverse: &[f64]) -> Vec<f64> {
    let others = (rows.len() - 1) as f64;
    let mut sum = vec![0.0_f64; rows[0].len()];
    for (row, scale) in rows.iter().zip(inverse) {
        for (total, &value) in sum.iter_mut().zip(*row) {
            *total += f64::from(value) * scale;
        }
    }
    let mut deviations = Vec::with_capacity(rows.len());
    for (row, &scale) in rows.iter().zip(inverse) {
        let with_itself = if scale > 0.0 { 1.0 } else { 0.0 };
        deviations.push((others - (wide_dot(row, &sum) * scale - with_itself)) / others);
    }
    deviations
}

/// The dot product of an f32 vector with an f64 one, in f64 lanes.
#[inline(always)]
fn wide_dot(a: &[f32], b: &[f64]) -> f64 {
    const WIDE: usize = 8;
    let mut lanes = [0.0_f64; WIDE];
    let (a_chunks, a_rest) = a.as_chunks::<WIDE>();
    let (b_chunks, b_rest) = b.as_chunks::<WIDE>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..WIDE {
            lanes[lane] += f64::from(x[lane]) * y[lane];
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(&x, y)| f64::from(x) * y)
        .sum();
    lanes.iter().sum::<f64>() + rest
}

/// Min-max to `[0, 1]`; values that are all equal give one half each.
///
/// ```
/// assert_eq!(polyphony_engine::vector::min_max(&[2.0, 4.0, 3.0]), [0.0, 1.0, 0.5]);
/// assert_eq!(polyphony_engine::vector::min_max(&[7.0, 7.0]), [0.5, 0.5]);
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

/// The weights of one prompt's responses from their deviations, a slice a space: the geometric
/// mean over the spaces of each space's min-max, divided by its mean over the prompt.
///
/// This is the oracle of `sql/50_weights.sql`, which computes the same with window functions.
///
/// ```
/// let weights = polyphony_engine::vector::weights(&[&[1.0, 3.0, 2.0]]);
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
