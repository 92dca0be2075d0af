//! The gradient through the feed-forward step's activation, by its input.

use candle_core::{Result, Tensor};
use polyphony_engine::model::decoder::config::Family;

/// `dy` times the slope of the activation at `x`, of the same shape.
///
/// # Errors
/// When shapes do not fit.
pub fn backward(x: &Tensor, dy: &Tensor, family: Family) -> Result<Tensor> {
    match family {
        Family::Llama => silu(x, dy),
        Family::Gemma2 => gelu_tanh(x, dy),
    }
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
