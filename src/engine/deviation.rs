//! Deviation: the mean cosine distance of each vector to the others of its prompt.

#![expect(
    clippy::inline_always,
    reason = "the kernels are compiled anew for every instruction set"
)]

use polyphony_model::kernel::vector::dot;

/// The maximum number of vectors for the exact form, which computes every pair's dot product once, so
/// that deviations that are equal by definition are equal in bits. Larger prompts use the closed form
/// through the vector sum, in O(n) instead of O(n^2).
pub const PAIRWISE_LIMIT: usize = 64;

/// Deviation of every vector: the mean of `1 - cosine` to all other vectors, in [0, 2] (Chung et al.
/// 2025, section 3; DiversityTuning, `models/diversity_model.py`).
///
/// `vectors` contains `n` vectors of `dimension` values, concatenated. They need not be unit vectors; a
/// zero vector has cosine 0 with every other, but 1 with another zero vector: texts without content are equal. A
/// single vector has deviation 0.
///
/// ```
/// let square = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
/// assert_eq!(polyphony_engine::deviation::deviations(&square, 2), [1.5, 1.0, 1.5]);
/// ```
pub fn deviations(vectors: &[f32], dimension: usize) -> Vec<f64> {
    if dimension == 0 {
        return Vec::new();
    }
    let rows: Vec<&[f32]> = vectors.chunks_exact(dimension).collect();
    deviations_of(&rows)
}

/// [`deviations`] of vectors that are not contiguous in memory.
pub fn deviations_of(rows: &[&[f32]]) -> Vec<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the line above saw that the CPU has AVX2")]
        // SAFETY: the function only requires the instruction set that was detected.
        return unsafe { deviations_avx2(rows) };
    }
    deviations_on_any(rows)
}

/// The same code compiled for wider registers: the lanes, and so the result bits, are the same.
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

/// Exact form: each pair's cosine is computed once and added to both sums, so that deviations equal by
/// definition are equal in bits. The distances of a row are added in ascending order, so the order of
/// the rows does not affect the result.
#[inline(always)]
fn pairwise(rows: &[&[f32]], inverse: &[f64]) -> Vec<f64> {
    let n = rows.len();
    let mut distances = vec![Vec::with_capacity(n - 1); n];
    for i in 0..n {
        for j in i + 1..n {
            let distance = if inverse[i] == 0.0 && inverse[j] == 0.0 {
                0.0
            } else {
                1.0 - dot(rows[i], rows[j]) * (inverse[i] * inverse[j])
            };
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

/// Closed form: `(n - e_i . S) / (n - 1)`, where S is the sum of the unit vectors `e_i` in f64.
#[inline(always)]
fn through_the_sum(rows: &[&[f32]], inverse: &[f64]) -> Vec<f64> {
    let others = (rows.len() - 1) as f64;
    let mut sum = vec![0.0_f64; rows[0].len()];
    for (row, scale) in rows.iter().zip(inverse) {
        for (total, &value) in sum.iter_mut().zip(*row) {
            *total += f64::from(value) * scale;
        }
    }
    let zeros = inverse.iter().filter(|scale| **scale == 0.0).count() as f64;
    let mut deviations = Vec::with_capacity(rows.len());
    for (row, &scale) in rows.iter().zip(inverse) {
        let cosines = if scale > 0.0 {
            wide_dot(row, &sum) * scale - 1.0
        } else {
            zeros - 1.0
        };
        deviations.push((others - cosines) / others);
    }
    deviations
}

/// The dot product of an f32 vector with an f64 vector, accumulated in f64 lanes.
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
