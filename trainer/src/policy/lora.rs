//! LoRA linear layer for training: a frozen weight with trainable low-rank factors, forward and backward.

use candle_core::{Result, Tensor};
use polyphony_model::decoder::Projection;
use polyphony_model::lora::LoraFactors;
use polyphony_model::ops::linear::matmul_t;

use super::gradients::Gradients;

/// The trainable LoRA adapter of one linear layer.
#[derive(Debug, Clone)]
pub struct TrainableLora {
    /// A and B, in f32; for products they are rounded to the dtype of the activations (PyTorch: autocast).
    pub factors: LoraFactors,
    /// The index of A among the trainable parameters; B has the next index.
    pub index: usize,
}

/// A frozen weight of shape (out, in), with an adapter or without.
#[derive(Debug, Clone)]
pub struct LoraLinear {
    /// The frozen weight, which gets no gradient.
    pub weight: Tensor,
    /// The adapter; `None` if this layer is no target module.
    pub lora: Option<TrainableLora>,
}

impl Projection for LoraLinear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = matmul_t(x, &self.weight)?;
        match &self.lora {
            None => Ok(y),
            // Products that track gradients, because the tests compare with candle's autograd.
            Some(lora) => y + lora.factors.to_dtype(x.dtype())?.forward(x, matmul_t)?,
        }
    }
}

impl LoraLinear {
    /// Adds the gradients of A and B, and returns that of the input, shape (T, in), for the input `x`, shape
    /// (T, in), and the gradient `dy` of the output, shape (T, out).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward(&self, x: &Tensor, dy: &Tensor, gradients: &mut Gradients) -> Result<Tensor> {
        let d_low = self.backward_factors(x, dy, gradients)?;
        let dx = dy.matmul(&self.weight)?;
        match (d_low, &self.lora) {
            (Some(d_low), Some(lora)) => dx + d_low.matmul(&lora.factors.a.to_dtype(x.dtype())?)?,
            _ => Ok(dx),
        }
    }

    /// Adds `dA = (scale dY B)^T x` and `dB = scale dY^T (x A^T)`; returns `scale dY B`, shape (T, r), or
    /// `None` without an adapter. Sufficient as backward pass where no gradient of the input is needed.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward_factors(
        &self,
        x: &Tensor,
        dy: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let Some(lora) = &self.lora else {
            return Ok(None);
        };
        let LoraFactors { a, b, scale } = lora.factors.to_dtype(x.dtype())?;
        let d_low = (dy.matmul(&b)? * scale)?;
        let low = (matmul_t(x, &a)? * scale)?;
        gradients.add(lora.index, &d_low.t()?.matmul(x)?)?;
        gradients.add(lora.index + 1, &dy.t()?.matmul(&low)?)?;
        Ok(Some(d_low))
    }

    /// The weight with its adapter merged, shape (out, in).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn merged(&self) -> Result<Tensor> {
        match &self.lora {
            None => Ok(self.weight.clone()),
            Some(lora) => lora.factors.merge(&self.weight),
        }
    }
}
