//! Backward pass of the RMS norm.

use candle_core::{D, DType, Result, Tensor};

/// The gradient of the input `x`, shape (T, H), for the gradient `dy` of the output, shape (T, H), and the
/// weight `w`, shape (H). With `y = w x r` and `r = (mean(x^2) + eps)^(-1/2)` it is
/// `dx = r w dy - x r^3 mean(x w dy)`, computed in f32.
///
/// # Errors
/// When shapes do not fit.
pub fn backward(x: &Tensor, weight: &Tensor, eps: f32, dy: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let scaled = dy
        .to_dtype(DType::F32)?
        .broadcast_mul(&weight.to_dtype(DType::F32)?)?;
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?
        .sqrt()?
        .recip()?;
    let projection = ((&x * &scaled)?.mean_keepdim(D::Minus1)? * inverse.sqr()?)?;
    (scaled - x.broadcast_mul(&projection)?)?
        .broadcast_mul(&inverse)?
        .to_dtype(dtype)
}
