//! Tape: callback by which a layer's forward pass records the activations that its backward pass needs.

use candle_core::Tensor;

/// An activation of a decoder layer that its backward pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerTensor {
    /// Queries before their norm, shape (T, heads, D); only where they have one (Qwen 3, Gemma 3).
    QueryProj,
    /// Keys before their norm, shape (T, `kv_heads`, D); only where they have one (Qwen 3, Gemma 3).
    KeyProj,
    /// Queries after RoPE, shape (T, heads, D).
    Query,
    /// Keys after RoPE, shape (T, `kv_heads`, D).
    Key,
    /// Values, shape (T, `kv_heads`, D).
    Value,
    /// The output of attention before `o_proj`, shape (T, heads * D).
    AttnOut,
    /// The output of `o_proj`, shape (T, H); only where a norm follows (Gemma).
    AttnProj,
    /// The residual stream between attention and MLP, shape (T, H).
    Residual,
    /// The output of `gate_proj`, shape (T, I).
    Gate,
    /// The output of `up_proj`, shape (T, I).
    Up,
    /// The output of `down_proj`, shape (T, H); only where a norm follows (Gemma).
    MlpOut,
}

/// Records the activations of one layer's forward pass.
pub trait Tape {
    /// Called once for each activation that the layer computes. A clone of the tensor shares its memory.
    fn record(&mut self, which: LayerTensor, x: &Tensor);
}

/// Records nothing: inference, and training with gradient checkpointing.
#[derive(Debug, Clone, Copy)]
pub struct NoTape;

impl Tape for NoTape {
    fn record(&mut self, _: LayerTensor, _: &Tensor) {}
}
