//! The gradient through the feed-forward step's activation, by its input.

use candle_core::{DType, Result, Tensor};
use polyphony_model::decoder::config::Family;

/// `dy` times the slope of the activation at `x`, of the same shape.
///
/// # Errors
/// When shapes do not fit.
pub fn backward(x: &Tensor, dy: &Tensor, family: Family) -> Result<Tensor> {
    // `1 - s` of a rounded `s` is mostly rounding: slopes are computed in f32, as PyTorch does.
    let wide = match x.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let (wide_x, wide_dy) = (x.to_dtype(wide)?, dy.to_dtype(wide)?);
    let slope = match family {
        Family::Llama => silu(&wide_x, &wide_dy),
        Family::Gemma2 => gelu_tanh(&wide_x, &wide_dy),
    };
    slope?.to_dtype(x.dtype())
}

/// `x s`, `s = sigmoid(x)`: the slope is `s (1 + x (1 - s))`.
fn silu(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let s = (x.neg()?.exp()? + 1.0)?.recip()?;
    let bend = (((1.0 - &s)? * x)? + 1.0)?;
    (s * bend)? * dy
}

/// `x (1 + t) / 2`, `t = tanh(c (x + 0.044715 x^3))`, `c = sqrt(2 / pi)` (PyTorch:
/// `gelu(approximate="tanh")`): the slope is `(1 + t) / 2 + x (1 - t^2) c (1 + 0.134145 x^2) / 2`.
fn gelu_tanh(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let square = x.sqr()?;
    let t = ((((&square * 0.044_715)? + 1.0)? * x)? * c)?.tanh()?;
    let inner = (((&square * 0.134_145)? + 1.0)? * (0.5 * c))?;
    let bend = (((1.0 - t.sqr()?)? * inner)? * x)?;
    (((t + 1.0)? * 0.5)? + bend)? * dy
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A rounded input has the slope of what it stands for, and no more error than its last digit.
    #[test]
    fn slopes_of_rounded_values_are_exact() {
        let values: Vec<f32> = (-96..=96).map(|at| at as f32 / 12.0).collect();
        let x = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
        let rounded = x.to_dtype(DType::BF16).unwrap();
        let x = rounded.to_dtype(DType::F32).unwrap();
        let dy = x.ones_like().unwrap();
        for family in [Family::Llama, Family::Gemma2] {
            let known = backward(&x, &dy, family).unwrap();
            let dy = dy.to_dtype(DType::BF16).unwrap();
            let given = backward(&rounded, &dy, family).unwrap();
            let given = given.to_dtype(DType::F32).unwrap();
            let pairs = known.to_vec1::<f32>().unwrap();
            for (known, given) in pairs.iter().zip(given.to_vec1::<f32>().unwrap()) {
                let off = (known - given).abs();
                assert!(off <= known.abs() / 256.0, "{known} {given}");
            }
        }
    }
}
