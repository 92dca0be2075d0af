//! Matrix product of f32 slices with strides: the `gemm` crate with bounds checks.

use gemm::Parallelism;

/// A view of a matrix in a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix of shape (rows, columns) whose rows begin `row_stride` values apart.
    ///
    /// # Panics
    /// When the slice is too short.
    pub fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(spans(rows, columns, row_stride) <= values.len());
        Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transposed view; nothing is copied.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// The threads that compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread only.
    One,
    /// All threads of rayon's pool.
    All,
}

/// Whether a product replaces the values of `out` or is added to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// `out = ..`
    No,
    /// `out += ..`
    Yes,
}

/// `out = scale * a b`, or `out += scale * a b`: `a` of shape (M, K), `b` of (K, N), `out` of (M, N). Rows of
/// `out` begin `out_stride` values apart.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul(
    out: &mut [f32],
    out_stride: usize,
    accumulate: Accumulate,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    threads: Threads,
) {
    assert_eq!(a.columns, b.rows);
    assert!(spans(a.rows, b.columns, out_stride) <= out.len());
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    #[expect(unsafe_code, reason = "the crate takes pointers and strides")]
    // SAFETY: `Matrix::new` and the assertions above keep every index within its slice, and `out`
    // is borrowed for writing, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate == Accumulate::Yes,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The number of values that a matrix spans in its slice, from its first value to its last.
const fn spans(rows: usize, columns: usize, row_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_replace_or_accumulate() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let a = Matrix::new(&a, 2, 2, 3);
        let b = Matrix::new(&b, 2, 2, 2);
        let mut out = [0.0; 4];
        matmul(&mut out, 2, Accumulate::No, 1.0, a, b, Threads::One);
        assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
        matmul(
            &mut out,
            2,
            Accumulate::Yes,
            2.0,
            a,
            b.transposed(),
            Threads::All,
        );
        assert_eq!(out, [53.0, 68.0, 121.0, 156.0]);
    }
}
