//! LoRA forward and merge: `x W^T + scale (x A^T) B^T`, or the weight `W + scale B A`.
//!
//! Precision: the low-rank term is computed in the dtype of its factors and rounded once to that of `x`;
//! a merge is added in f32 and rounded once to the weight's dtype.

use candle_core::{DType, Result, Tensor};

use crate::decoder::Projection;
use crate::ops::linear::linear;

/// The low-rank factors of one linear layer.
#[derive(Debug, Clone)]
pub struct LoraFactors {
    /// A, shape (r, in).
    pub a: Tensor,
    /// B, shape (out, r).
    pub b: Tensor,
    /// Scale: the factor of `B A`, see [`super::LoraConfig::scale`].
    pub scale: f64,
}

impl LoraFactors {
    /// The low-rank term `scale (x A^T) B^T`: shape (T, in) to (T, out). `matmul_t` computes `x W^T`, either by
    /// the inference kernel or by the product that tracks gradients.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &self,
        x: &Tensor,
        matmul_t: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let low = matmul_t(&x.to_dtype(self.a.dtype())?, &self.a)?;
        (matmul_t(&low, &self.b)? * self.scale)?.to_dtype(x.dtype())
    }

    /// The merged weight `W + scale B A`, shape (out, in), in the dtype of `weight`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn merge(&self, weight: &Tensor) -> Result<Tensor> {
        let delta = (self.b.matmul(&self.a)? * self.scale)?;
        let sum = (weight.to_dtype(DType::F32)? + delta)?;
        sum.to_dtype(weight.dtype())
    }

    /// The same factors in another dtype.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            a: self.a.to_dtype(dtype)?,
            b: self.b.to_dtype(dtype)?,
            scale: self.scale,
        })
    }
}

/// The weight of a decoder's projection for inference.
#[derive(Debug)]
pub enum LinearWeight {
    /// A weight of shape (out, in), without an adapter or with a merged one.
    Base(Tensor),
    /// A weight of shape (out, in) with an unmerged adapter in f32.
    WithLora(Tensor, LoraFactors),
}

impl Projection for LinearWeight {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Base(weight) => weight.forward(x),
            Self::WithLora(weight, lora) => weight.forward(x)? + lora.forward(x, linear)?,
        }
    }
}
