//! GELU kernel: the exact Gaussian error linear unit, with the bias before it.

use rayon::prelude::*;

use super::exp::exp;

/// Values per rayon task.
const VALUES_PER_TASK: usize = 1 << 14;

/// `x / 2 * (1 + erf(x / sqrt 2))` of every value plus its column's bias, in place: `rows` of shape (T, I),
/// `bias` of (I) (PyTorch: `nn.GELU()`). The error function is formula 7.1.26 of Abramowitz and Stegun, with
/// an error of at most 1.5e-7.
pub fn bias_gelu(rows: &mut [f32], bias: &[f32]) {
    let rows_per_task = VALUES_PER_TASK.div_ceil(bias.len());
    rows.par_chunks_mut(rows_per_task * bias.len())
        .for_each(|rows| pulp::Arch::new().dispatch(BiasGelu { rows, bias }));
}

/// [`bias_gelu`] of some rows, for the dispatch by instruction set.
struct BiasGelu<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl pulp::WithSimd for BiasGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (value, bias) in row.iter_mut().zip(self.bias) {
                *value = gelu(*value + bias);
            }
        }
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut sum = 1.061_405_4;
    for factor in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + factor;
    }
    let erf = (1.0 - sum * t * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

#[cfg(test)]
mod tests {
    /// Values of `torch.nn.functional.gelu` in f64.
    #[test]
    fn gelu_matches_pytorch() {
        let cases = [
            (-6.0, -5.919_526e-9),
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_22),
            (0.0, 0.0),
            (0.5, 0.345_731_2),
            (1.0, 0.841_344_8),
            (4.0, 3.999_873_3),
        ];
        for (x, expected) in cases {
            let mut values = [x - 0.25; 38];
            super::bias_gelu(&mut values, &[0.25; 19]);
            for value in values {
                assert!((value - expected).abs() < 4e-7, "{x}: {value}");
            }
        }
    }
}
