//! Skinny GEMM kernel: the product of few rows with a weight whose every row is read from memory only once.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape};
use rayon::prelude::*;

/// Lanes of an accumulator, the same on every machine.
const LANES: usize = 16;
/// Independent SIMD accumulators, so that no addition waits for the result of the previous one.
const ACCUMULATORS: usize = 4;
/// Rows of `x` that share one read of the weight.
const ROWS_PER_READ: usize = 4;
/// Rows of the weight per rayon task.
const WEIGHT_ROWS_PER_TASK: usize = 32;

/// `x W^T`: `x` of shape (T, in), `W` of (out, in), both contiguous f32 on the CPU. The summation order
/// of a row is the same on every machine and with any other rows in the batch: its bits do not depend on the
/// batch size.
#[derive(Debug, Clone, Copy)]
pub struct SkinnyGemm;

impl CustomOp2 for SkinnyGemm {
    fn name(&self) -> &'static str {
        "skinny-gemm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(x), CpuStorage::F32(weight)) = (x, weight) else {
            candle_core::bail!("skinny gemm needs f32");
        };
        let (rows, into) = x_layout.shape().dims2()?;
        let (out, width) = weight_layout.shape().dims2()?;
        let ranges = (
            x_layout.contiguous_offsets(),
            weight_layout.contiguous_offsets(),
        );
        let (Some((x0, x1)), Some((w0, w1))) = ranges else {
            candle_core::bail!("skinny gemm needs contiguous tensors");
        };
        if into != width {
            candle_core::bail!("rows of {into} values times a weight of {width} columns");
        }
        let mut y = vec![0.0; rows * out];
        skinny_gemm(&x[x0..x1], &weight[w0..w1], into, &mut y);
        Ok((CpuStorage::F32(y), (rows, out).into()))
    }
}

/// `y = x W^T`: `x` of shape (T, into), `weight` of (out, into), `y` of (T, out).
pub fn skinny_gemm(x: &[f32], weight: &[f32], into: usize, y: &mut [f32]) {
    if x.is_empty() || weight.is_empty() {
        return;
    }
    let (rows, out) = (x.len() / into, weight.len() / into);
    // Column by column, one block of columns per task; then transposed to rows.
    let mut columns = vec![0.0; y.len()];
    columns
        .par_chunks_mut(WEIGHT_ROWS_PER_TASK * rows)
        .zip(weight.par_chunks(WEIGHT_ROWS_PER_TASK * into))
        .for_each(|(columns, weight)| {
            pulp::Arch::new().dispatch(ColumnBlock {
                x,
                weight,
                into,
                columns,
            });
        });
    for (row, y) in y.chunks_exact_mut(out).enumerate() {
        for (value, column) in y.iter_mut().zip(columns.chunks_exact(rows)) {
            *value = column[row];
        }
    }
}

/// The columns of `y` that a block of weight rows gives, for the dispatch by instruction set.
struct ColumnBlock<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    into: usize,
    columns: &'a mut [f32],
}

impl pulp::WithSimd for ColumnBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let rows = self.x.len() / self.into;
        let weights = self.weight.chunks_exact(self.into);
        for (weight, column) in weights.zip(self.columns.chunks_exact_mut(rows)) {
            let blocks = self.x.chunks(ROWS_PER_READ * self.into);
            for (x, column) in blocks.zip(column.chunks_mut(ROWS_PER_READ)) {
                match column.len() {
                    4 => dots::<4>(x, weight, column),
                    3 => dots::<3>(x, weight, column),
                    2 => dots::<2>(x, weight, column),
                    _ => dots::<1>(x, weight, column),
                }
            }
        }
    }
}

/// The dot products of `ROWS` rows of `x` with one row of the weight.
#[inline(always)]
fn dots<const ROWS: usize>(x: &[f32], weight: &[f32], dots: &mut [f32]) {
    let into = weight.len();
    let mut sums = [[[0.0_f32; LANES]; ACCUMULATORS]; ROWS];
    let steps = into / (LANES * ACCUMULATORS);
    for step in 0..steps {
        for accumulator in 0..ACCUMULATORS {
            let offset = (step * ACCUMULATORS + accumulator) * LANES;
            let w = &weight[offset..offset + LANES];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = &x[row * into + offset..][..LANES];
                for lane in 0..LANES {
                    sums[accumulator][lane] += x[lane] * w[lane];
                }
            }
        }
    }
    for (row, (sums, dot)) in sums.iter_mut().zip(dots).enumerate() {
        for offset in steps * LANES * ACCUMULATORS..into {
            let slot = offset % (LANES * ACCUMULATORS);
            sums[slot / LANES][slot % LANES] += x[row * into + offset] * weight[offset];
        }
        let mut lanes = [0.0_f32; LANES];
        for sums in sums {
            for lane in 0..LANES {
                lanes[lane] += sums[lane];
            }
        }
        *dot = lanes.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::skinny_gemm;
    use polyphony_io::random::SplitMix64;

    #[test]
    fn skinny_gemm_matches_f64_and_rows_do_not_depend_on_each_other() {
        let mut random = SplitMix64::seed_from_u64(11);
        for (into, out) in [(1, 1), (63, 70), (64, 33), (200, 31), (1030, 65)] {
            let mut values = |count: usize| -> Vec<f32> {
                (0..count)
                    .map(|_| (random.next_f64() - 0.5) as f32)
                    .collect()
            };
            let (x, weight) = (values(9 * into), values(out * into));
            let mut batch = vec![0.0; 9 * out];
            skinny_gemm(&x, &weight, into, &mut batch);
            for (row, x) in x.chunks(into).enumerate() {
                for (column, w) in weight.chunks(into).enumerate() {
                    let pairs = x.iter().zip(w);
                    let expected: f64 = pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let actual = f64::from(batch[row * out + column]);
                    assert!((actual - expected).abs() < 1e-5, "{actual} {expected}");
                }
            }
            for rows in 1..9 {
                for start in 0..9 - rows {
                    let mut part = vec![0.0; rows * out];
                    skinny_gemm(&x[start * into..][..rows * into], &weight, into, &mut part);
                    assert_eq!(part, batch[start * out..][..rows * out]);
                }
            }
        }
    }
}
