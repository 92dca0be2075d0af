//! Activation functions of MLPs: SiLU and tanh GELU.

use candle_core::{DType, Result, Tensor};

/// An activation function, elementwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)` (PyTorch: `nn.SiLU`).
    Silu,
    /// The tanh approximation of GELU (PyTorch: `nn.GELU(approximate="tanh")`).
    GeluTanh,
}

impl Activation {
    /// Applies the function elementwise: any shape to the same shape and dtype.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        // In half precision candle would round after each step; PyTorch computes in f32 and rounds once.
        let exact = match x.dtype() {
            DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
            _ => x.clone(),
        };
        let y = match self {
            Self::Silu => exact.silu(),
            Self::GeluTanh => exact.gelu(),
        };
        y?.to_dtype(x.dtype())
    }
}
