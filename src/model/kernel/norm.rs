//! Layer norm kernel, alone or fused with the bias and residual addition before it.

use rayon::prelude::*;

/// Number of partial sums of a row, the same on every machine.
const LANES: usize = 16;
/// Rows per rayon task.
const ROWS_PER_TASK: usize = 64;

/// The parameters of a layer norm: `weight` and `bias` of shape (H).
#[derive(Debug, Clone, Copy)]
pub struct LayerNormParams<'a> {
    /// Scale (gamma), shape (H).
    pub weight: &'a [f32],
    /// Shift (beta), shape (H).
    pub bias: &'a [f32],
    /// Epsilon, added to the variance.
    pub eps: f32,
}

/// Normalises each row to mean 0 and variance 1, then scales and shifts it, in place: `rows` of shape (T, H)
/// (PyTorch: `nn.LayerNorm`).
pub fn layer_norm(rows: &mut [f32], norm: LayerNormParams<'_>) {
    let width = norm.weight.len();
    rows.par_chunks_mut(ROWS_PER_TASK * width)
        .for_each(|rows| pulp::Arch::new().dispatch(Rows { rows, norm }));
}

/// [`layer_norm`] of `rows + bias + residual`: `rows` and `residual` of shape (T, H), `bias` of (H).
pub fn bias_residual_norm(
    rows: &mut [f32],
    bias: &[f32],
    residual: &[f32],
    norm: LayerNormParams<'_>,
) {
    let width = norm.weight.len();
    rows.par_chunks_mut(ROWS_PER_TASK * width)
        .zip(residual.par_chunks(ROWS_PER_TASK * width))
        .for_each(|(rows, residual)| {
            pulp::Arch::new().dispatch(SummedRows {
                rows: Rows { rows, norm },
                bias,
                residual,
            });
        });
}

/// [`layer_norm`] of some rows, for the dispatch by instruction set.
struct Rows<'a> {
    rows: &'a mut [f32],
    norm: LayerNormParams<'a>,
}

impl pulp::WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.norm.weight.len()) {
            normalize_row(row, self.norm);
        }
    }
}

/// [`bias_residual_norm`] of some rows, for the dispatch by instruction set.
struct SummedRows<'a> {
    rows: Rows<'a>,
    bias: &'a [f32],
    residual: &'a [f32],
}

impl pulp::WithSimd for SummedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let width = self.bias.len();
        let rows = self.rows.rows.chunks_exact_mut(width);
        for (row, residual) in rows.zip(self.residual.chunks_exact(width)) {
            for ((value, bias), residual) in row.iter_mut().zip(self.bias).zip(residual) {
                *value += bias + residual;
            }
            normalize_row(row, self.rows.norm);
        }
    }
}

#[inline(always)]
fn normalize_row(row: &mut [f32], norm: LayerNormParams<'_>) {
    let mean = sum_of(row, |x| x) / row.len() as f32;
    let variance = sum_of(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    let inverse = 1.0 / (variance + norm.eps).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(norm.weight).zip(norm.bias) {
        *value = (*value - mean) * inverse * weight + bias;
    }
}

#[inline(always)]
fn sum_of(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += of(chunk[lane]);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += of(value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_are_normalised_scaled_and_shifted() {
        let norm = super::LayerNormParams {
            weight: &[1.0, 2.0, 1.0],
            bias: &[0.0, 0.5, 0.0],
            eps: 0.0,
        };
        let mut rows = vec![1.0, 2.0, 3.0, 10.0, 10.0, 40.0];
        super::layer_norm(&mut rows, norm);
        let mut summed = vec![0.0, 2.0, 1.0, 5.0, 6.0, 30.0];
        let residual = [0.0, -1.0, 1.0, 4.0, 3.0, 9.0];
        super::bias_residual_norm(&mut summed, &[1.0, 1.0, 1.0], &residual, norm);
        assert_eq!(rows, summed);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let expected = [
            -1.224_745,
            0.5,
            1.224_745,
            -half,
            0.5 - 2.0 * half,
            2.0 * half,
        ];
        for (value, expected) in rows.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{rows:?}");
        }
    }
}
