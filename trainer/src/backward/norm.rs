//! The gradient through an RMS norm, by its input.

use candle_core::{D, DType, Result, Tensor};

/// For `y = w x r`, `r = (mean(x^2) + eps)^(-1/2)`: `dx = r w dy - x r^3 mean(x w dy)`, in f32
/// inside. `x` and `dy` of shape (tokens, width), `w` of (width).
///
/// # Errors
/// When shapes do not fit.
pub fn backward(x: &Tensor, weight: &Tensor, eps: f32, dy: &Tensor) -> Result<Tensor> {
    let kind = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let scaled = dy
        .to_dtype(DType::F32)?
        .broadcast_mul(&weight.to_dtype(DType::F32)?)?;
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?
        .sqrt()?
        .recip()?;
    let share = ((&x * &scaled)?.mean_keepdim(D::Minus1)? * inverse.sqr()?)?;
    (scaled - x.broadcast_mul(&share)?)?
        .broadcast_mul(&inverse)?
        .to_dtype(kind)
}
