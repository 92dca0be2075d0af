//! Gradients of the trainable parameters, accumulated in f32 over micro-batches.

use candle_core::{DType, Result, Tensor};

/// One gradient for each trainable parameter, in the order of the policy's parameters.
#[derive(Debug, Clone)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// No gradients yet, for this many parameters.
    pub fn empty(parameters: usize) -> Self {
        Self(vec![None; parameters])
    }

    /// Adds to the gradient of the parameter at `index`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn add(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(DType::F32)?;
        let sum = match self.0[index].take() {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.0[index] = Some(sum);
        Ok(())
    }

    /// Adds the gradients of another micro-batch (gradient accumulation).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn accumulate(&mut self, other: Self) -> Result<()> {
        for (index, gradient) in other.0.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                self.add(index, &gradient)?;
            }
        }
        Ok(())
    }

    /// The gradients as tensors; zeros of the parameter's shape for a parameter without a gradient.
    ///
    /// # Errors
    /// When the device fails.
    pub fn into_tensors<'a>(
        self,
        parameters: impl Iterator<Item = &'a Tensor>,
    ) -> Result<Vec<Tensor>> {
        let pairs = self.0.into_iter().zip(parameters);
        pairs
            .map(|(sum, parameter)| sum.map_or_else(|| parameter.zeros_like(), Ok))
            .collect()
    }
}
