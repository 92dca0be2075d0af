//! Norms: RMS norm of decoders, layer norm of encoders.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::{layer_norm, layer_norm_slow};

/// `weight * x / sqrt(mean(x^2) + eps)` over the last dimension (PyTorch: `nn.RMSNorm`): `x` of shape
/// (T, H), `weight` of (H). Where the weight is more precise than `x`, it is computed in the weight's dtype
/// and rounded once.
///
/// # Errors
/// When shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    if x.dtype() != weight.dtype() {
        let precise = rms_norm(&x.to_dtype(weight.dtype())?, weight, eps)?;
        return precise.to_dtype(x.dtype());
    }
    if x.track_op() {
        candle_nn::ops::rms_norm_slow(x, weight, eps)
    } else {
        candle_nn::ops::rms_norm(&x.contiguous()?, weight, eps)
    }
}

/// A layer norm (PyTorch: `nn.LayerNorm`).
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Scale (gamma), shape (H).
    pub weight: Tensor,
    /// Shift (beta), shape (H).
    pub bias: Tensor,
    /// Epsilon, added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// Normalises each row: shape (T, H) to (T, H).
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match x.dtype() {
            // candle's fused layer norm does not support f64.
            DType::F64 => layer_norm_slow(x, &self.weight, &self.bias, self.eps),
            DType::F32 => layer_norm(x, &self.weight, &self.bias, self.eps),
            _ => upcast_on_cpu(x, |x| {
                let dtype = x.dtype();
                let (weight, bias) = (self.weight.to_dtype(dtype)?, self.bias.to_dtype(dtype)?);
                layer_norm(x, &weight, &bias, self.eps)
            }),
        }
    }
}

/// Runs an operation in f32 if `x` is in half precision on the CPU, which happens in tests only: candle's CPU
/// operations accumulate in half precision, those of a GPU in f32.
///
/// # Errors
/// When the operation fails.
pub fn upcast_on_cpu(x: &Tensor, op: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if x.device().is_cpu() && matches!(x.dtype(), DType::BF16 | DType::F16) {
        op(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())
    } else {
        op(x)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rms_norm_with_an_f32_weight_rounds_once() {
        // bf16 cannot represent 1 + 2^-9 (the nearest value is 1), nor 1.5 * (1 + 2^-9).
        let weight = Tensor::new(&[1.0_f32 + 1.0 / 512.0; 4], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[3.0_f32, 3.0, 3.0, 1.0]], &Device::Cpu).unwrap();
        let rounded = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        let precise = rms_norm(&x, &weight, 1e-6).unwrap();
        let actual = rms_norm(&rounded(&x), &weight, 1e-6).unwrap();
        assert_eq!(actual.dtype(), DType::BF16);
        let values =
            |x: &Tensor| -> Vec<Vec<f32>> { x.to_dtype(DType::F32).unwrap().to_vec2().unwrap() };
        assert_eq!(values(&actual), values(&rounded(&precise)));
    }
}
