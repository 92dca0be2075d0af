//! DPP selection: greedy MAP inference of a determinantal point process.

use polyphony_model::kernel::vector::dot;

/// The value added to the kernel's diagonal, so that every set has a positive determinant. It is above
/// the rounding error of a cosine in f32 and below any difference between texts that matters.
pub const EPSILON: f64 = 1e-6;

/// Greedy MAP inference (Chen, Zhang and Zhou 2018, "Fast greedy MAP inference for determinantal point
/// process", algorithm 1): adds, one after another, the item that multiplies the determinant of the
/// selected items' kernel most, until `limit` items are selected. Returns their indices in the order of
/// selection; of equal items the first in order is taken.
///
/// The kernel is `K + EPSILON I`, where K has ones on its diagonal and `kernel(i, j)` elsewhere; it must
/// be symmetric and positive semidefinite. The Cholesky factor grows by a row for each selected item, so
/// the time is O(n limit^2) and n limit calls of `kernel`, the memory O(n limit).
///
/// ```
/// // Items 0 and 1 are nearly the same, so 2 comes before 1.
/// let kernel = |i: usize, j: usize| if i + j == 1 { 0.9 } else { 0.1 };
/// assert_eq!(polyphony_engine::dpp::greedy_map(3, 2, kernel), [0, 2]);
/// ```
pub fn greedy_map(n: usize, limit: usize, kernel: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    // Of each item: its row of the Cholesky factor, and what it would multiply the determinant by.
    let mut factors: Vec<Vec<f64>> = vec![Vec::new(); n];
    let mut gains = vec![1.0 + EPSILON; n];
    let mut left: Vec<usize> = (0..n).collect();
    let mut selected = Vec::new();
    while selected.len() < limit
        && let Some(best) = position_of_largest(left.iter().map(|&item| gains[item]))
    {
        let item = left.remove(best);
        selected.push(item);
        if selected.len() == limit {
            break;
        }
        let scale = gains[item].sqrt();
        let factor = std::mem::take(&mut factors[item]);
        for &other in &left {
            let row = &mut factors[other];
            let product: f64 = factor.iter().zip(row.iter()).map(|(a, b)| a * b).sum();
            let next = (kernel(item, other) - product) / scale;
            row.push(next);
            // In exact arithmetic a gain never falls below EPSILON.
            gains[other] = (gains[other] - next * next).max(EPSILON);
        }
    }
    selected
}

/// The position of the largest value, the first of equal ones; `None` without values.
fn position_of_largest(values: impl Iterator<Item = f64>) -> Option<usize> {
    let larger = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    values
        .enumerate()
        .reduce(larger)
        .map(|(position, _)| position)
}

/// The cosine kernel of vectors, and of several spaces the product of their cosine kernels: texts are
/// alike where they are alike in every space. A space in which a row has no vector counts as cosine 1; a
/// zero vector has cosine 0 with every other, and 1 with another zero vector.
#[derive(Debug)]
pub struct CosineKernel<'a> {
    /// Of each space: the vectors with the inverses of their lengths.
    spaces: Vec<Vec<Option<Row<'a>>>>,
}

/// A vector, and the inverse of its length (0 for a zero vector).
type Row<'a> = (&'a [f32], f64);

impl<'a> CosineKernel<'a> {
    /// The kernel of the spaces' vectors, a list of rows for each space; the vectors of a space have one
    /// dimension.
    pub fn new(spaces: &[Vec<Option<&'a [f32]>>]) -> Self {
        let with_inverse = |row: &'a [f32]| -> Row<'a> {
            let length = dot(row, row).sqrt();
            (row, if length > 0.0 { 1.0 / length } else { 0.0 })
        };
        let spaces = spaces.iter().map(|rows| {
            let rows = rows.iter().map(|row| row.map(with_inverse));
            rows.collect()
        });
        Self {
            spaces: spaces.collect(),
        }
    }

    /// The product over the spaces of the cosines of two rows, in [-1, 1].
    pub fn value(&self, i: usize, j: usize) -> f64 {
        let cosine = |rows: &Vec<Option<Row<'a>>>| match (rows[i], rows[j]) {
            (Some((a, inverse_a)), Some((b, inverse_b))) if inverse_a + inverse_b > 0.0 => {
                dot(a, b) * (inverse_a * inverse_b)
            }
            _ => 1.0,
        };
        self.spaces.iter().map(cosine).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_beyond_the_rank_select_every_item_once() {
        // Eight unit vectors in the plane: a kernel of rank 2.
        let angle = |i: usize| i as f64 * 0.7;
        let kernel = |i: usize, j: usize| (angle(i) - angle(j)).cos();
        let mut selected = greedy_map(8, 20, kernel);
        selected.sort_unstable();
        assert_eq!(selected, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(greedy_map(0, 3, kernel).is_empty());
        assert!(greedy_map(8, 0, kernel).is_empty());
    }

    #[test]
    fn kernels_of_spaces_are_multiplied_and_missing_vectors_do_not_count() {
        let rows = |rows: [&'static [f32]; 3]| rows.map(Some).to_vec();
        let semantic = rows([&[2.0, 0.0], &[1.0, 1.0], &[0.0, 0.0]]);
        let style = rows([&[0.0, 3.0], &[0.0, -1.0], &[1.0, 0.0]]);
        let both = CosineKernel::new(&[semantic.clone(), style]);
        assert!((both.value(0, 1) + 0.5_f64.sqrt()).abs() < 1e-7);
        assert!(both.value(0, 2).abs() < 1e-12);
        let one = CosineKernel::new(&[semantic, vec![None; 3]]);
        assert!((one.value(0, 1) - 0.5_f64.sqrt()).abs() < 1e-7);
    }
}
