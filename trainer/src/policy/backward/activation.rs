//! Backward pass of the MLP's activation function: SiLU and tanh GELU.

use candle_core::{DType, Result, Tensor};
use polyphony_model::ops::activation::Activation;

/// `dy` times the derivative of the activation at `x`, any shape.
///
/// # Errors
/// When shapes do not fit.
pub fn backward(x: &Tensor, dy: &Tensor, activation: Activation) -> Result<Tensor> {
    // Derivatives are computed in f32, as in PyTorch: in bf16 `1 - s` would be mostly rounding error.
    let exact = match x.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let (exact_x, exact_dy) = (x.to_dtype(exact)?, dy.to_dtype(exact)?);
    let dx = match activation {
        Activation::Silu => silu(&exact_x, &exact_dy),
        Activation::GeluTanh => gelu_tanh(&exact_x, &exact_dy),
    };
    dx?.to_dtype(x.dtype())
}

/// `x s`, `s = sigmoid(x)`: the derivative is `s (1 + x (1 - s))`.
fn silu(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let s = (x.neg()?.exp()? + 1.0)?.recip()?;
    let factor = (((1.0 - &s)? * x)? + 1.0)?;
    (s * factor)? * dy
}

/// `x (1 + t) / 2`, `t = tanh(c (x + 0.044715 x^3))`, `c = sqrt(2 / pi)` (PyTorch:
/// `gelu(approximate="tanh")`): the derivative is `(1 + t) / 2 + x (1 - t^2) c (1 + 0.134145 x^2) / 2`.
fn gelu_tanh(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let square = x.sqr()?;
    let t = ((((&square * 0.044_715)? + 1.0)? * x)? * c)?.tanh()?;
    let inner = (((&square * 0.134_145)? + 1.0)? * (0.5 * c))?;
    let second = (((1.0 - t.sqr()?)? * inner)? * x)?;
    (((t + 1.0)? * 0.5)? + second)? * dy
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// In bf16 the only error is the rounding of the result.
    #[test]
    fn bf16_derivatives_are_rounded_once() {
        let values: Vec<f32> = (-96..=96).map(|step| step as f32 / 12.0).collect();
        let x = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
        let rounded = x.to_dtype(DType::BF16).unwrap();
        let x = rounded.to_dtype(DType::F32).unwrap();
        let dy = x.ones_like().unwrap();
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let exact = backward(&x, &dy, activation).unwrap();
            let dy = dy.to_dtype(DType::BF16).unwrap();
            let in_bf16 = backward(&rounded, &dy, activation).unwrap();
            let in_bf16 = in_bf16.to_dtype(DType::F32).unwrap();
            let exact = exact.to_vec1::<f32>().unwrap();
            for (exact, actual) in exact.iter().zip(in_bf16.to_vec1::<f32>().unwrap()) {
                let error = (exact - actual).abs();
                assert!(error <= exact.abs() / 256.0, "{exact} {actual}");
            }
        }
    }
}
