//! Linear layers: `x W^T`, with or without a bias.

use candle_core::{DType, Result, Tensor};

use crate::kernel::skinny_gemm::SkinnyGemm;

/// A linear layer with a bias (PyTorch: `nn.Linear`).
#[derive(Debug, Clone)]
pub struct Linear {
    /// Weight, shape (out, in).
    pub weight: Tensor,
    /// Bias, shape (out).
    pub bias: Tensor,
}

impl Linear {
    /// `x W^T + b`: shape (T, in) to (T, out).
    ///
    /// # Errors
    /// When shapes do not fit, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        matmul_t(x, &self.weight)?.broadcast_add(&self.bias)
    }
}

/// `x W^T` by candle's matrix product, which tracks gradients: `x` of shape (T, in), `weight` of (out, in).
///
/// # Errors
/// When shapes do not fit.
pub fn matmul_t(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}

/// On the CPU, up to this many rows are multiplied by [`crate::kernel::skinny_gemm`], more by gemm.
pub const MAX_SKINNY_ROWS: usize = 32;

/// `x W^T` with batch-independent rows: `x` of shape (T, in), `weight` of (out, in). In f32 on the CPU a row
/// has the same bits in all batches of up to [`MAX_SKINNY_ROWS`] rows, and the same bits in all larger
/// batches. Gradients of `weight` are not tracked.
///
/// # Errors
/// When shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    /// gemm uses another summation order for small products: with fewer than 65 rows, or fewer than 257
    /// values. Products of narrow weights are padded with rows of zeros.
    const NARROW: usize = 64;
    const ROWS: usize = 257;
    let (rows, out) = (x.dim(0)?, weight.dim(0)?);
    let is_cpu_inference = x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op();
    if !is_cpu_inference || rows == 0 || (rows > MAX_SKINNY_ROWS && (out > NARROW || rows >= ROWS))
    {
        return matmul_t(x, weight);
    }
    if rows <= MAX_SKINNY_ROWS {
        return x
            .contiguous()?
            .apply_op2_no_bwd(&weight.contiguous()?, &SkinnyGemm);
    }
    matmul_t(&x.pad_with_zeros(0, 0, ROWS - rows)?, weight)?.narrow(0, 0, rows)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use polyphony_io::random::SplitMix64;

    use super::*;

    /// Shapes of MLPs, of projections with few key heads and of LoRA factors, at sizes of real models.
    #[test]
    fn a_row_has_the_same_bits_in_every_batch() {
        let mut random = SplitMix64::seed_from_u64(5);
        let mut values = |rows: usize, width: usize| {
            let values = (0..rows * width).map(|_| (random.next_f64() - 0.5) as f32);
            Tensor::from_vec(values.collect(), (rows, width), &Device::Cpu).unwrap()
        };
        let shapes = [
            (2048, 512),
            (576, 1536),
            (4096, 128),
            (896, 128),
            (576, 128),
            (1024, 96),
            (576, 64),
            (512, 64),
            (256, 32),
            (2048, 16),
            (512, 16),
            (16, 2048),
            (128, 896),
            (2, 300),
            (300, 1),
        ];
        for (width, out) in shapes {
            let (weight, x) = (values(out, width), values(300, width));
            let rows_of = |start: usize, rows: usize| -> Vec<Vec<f32>> {
                let batch = x.narrow(0, start, rows).unwrap();
                linear(&batch, &weight).unwrap().to_vec2().unwrap()
            };
            for batch_sizes in [
                &[300, 33, 34, 64, 65, 100, 130, 256, 257][..],
                &[32, 1, 2, 3, 4, 5, 8, 13, 31],
            ] {
                let largest = rows_of(0, batch_sizes[0]);
                for &rows in batch_sizes {
                    for start in [0, 1.min(batch_sizes[0] - rows), batch_sizes[0] - rows] {
                        let expected = &largest[start..start + rows];
                        assert_eq!(
                            rows_of(start, rows),
                            expected,
                            "{rows} of {width}, {out} wide"
                        );
                    }
                }
            }
            let (few, many) = (rows_of(0, 5), rows_of(0, 130));
            for (few, many) in few.iter().flatten().zip(many.iter().flatten()) {
                assert!((few - many).abs() < 1e-3, "{few} {many}");
            }
        }
    }
}
