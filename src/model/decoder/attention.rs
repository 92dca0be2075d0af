//! Grouped-query causal attention of packed sequences, with a soft cap and a sliding window.
//!
//! Shapes: T tokens of all sequences, L of one, G key and value heads (groups), D head size.

use candle_core::{DType, Result, Tensor};

use super::packed::PackedSequences;
use crate::kernel::masked_softmax::MaskedSoftmax;

/// The attention settings of one layer.
#[derive(Debug, Clone, Copy)]
pub struct AttentionConfig {
    /// The factor that scores are multiplied by before the soft cap, usually `D^(-1/2)`.
    pub scale: f64,
    /// The soft cap of scores: `cap * tanh(score / cap)`.
    pub softcap: Option<f64>,
    /// Sliding window: the number of tokens that a token attends to, itself included; `None` is full attention.
    pub sliding_window: Option<usize>,
}

/// Causal attention within each sequence: `q` of shape (T, heads, D), `k` and `v` of (T, G, D); returns
/// (T, heads * D) (PyTorch: `scaled_dot_product_attention`, sequence by sequence).
///
/// # Errors
/// When shapes do not fit.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    packed: &PackedSequences,
    config: &AttentionConfig,
) -> Result<Tensor> {
    let groups = k.dim(1)?;
    let mut start = 0;
    let mut outputs = Vec::with_capacity(packed.lengths.len());
    for &length in &packed.lengths {
        let part = |x: &Tensor| group_heads(&x.narrow(0, start, length)?, groups);
        let mask = packed.mask(length, config.sliding_window)?;
        let (probs, _) = attention_probs(&part(q)?, &part(k)?, &mask, config)?;
        let rows = probs.to_dtype(v.dtype())?.matmul(&part(v)?)?;
        outputs.push(ungroup_heads(&rows, length)?);
        start += length;
    }
    Tensor::cat(&outputs, 0)?.flatten(1, 2)
}

/// Stacks the query heads of each group, so that one matrix product serves a group: shape (L, heads, D) to
/// (G, heads / G * L, D).
///
/// # Errors
/// When the number of heads is no multiple of the number of groups.
pub fn group_heads(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (length, heads, head_dim) = x.dims3()?;
    let per_group = heads / groups;
    x.reshape((length, groups, per_group, head_dim))?
        .permute((1, 2, 0, 3))?
        .contiguous()?
        .reshape((groups, per_group * length, head_dim))
}

/// The inverse of [`group_heads`]: shape (G, heads / G * L, D) to (L, heads, D).
///
/// # Errors
/// When the number of rows is no multiple of the length.
pub fn ungroup_heads(x: &Tensor, length: usize) -> Result<Tensor> {
    let (groups, rows, head_dim) = x.dims3()?;
    let per_group = rows / length;
    x.reshape((groups, per_group, length, head_dim))?
        .permute((2, 0, 1, 3))?
        .contiguous()?
        .reshape((length, groups * per_group, head_dim))
}

/// The attention probabilities of grouped queries, shape (G, rows, D), over keys, shape (G, L, D): shape (G,
/// rows, L), in f32. Also returns the derivative of the soft cap, if any, for the backward pass. `mask`, of
/// shape (queries, L), is the same for every head.
///
/// # Errors
/// When shapes do not fit.
pub fn attention_probs(
    q: &Tensor,
    k: &Tensor,
    mask: &Tensor,
    config: &AttentionConfig,
) -> Result<(Tensor, Option<Tensor>)> {
    let (groups, rows, _) = q.dims3()?;
    let (queries, length) = mask.dims2()?;
    let scores = q.matmul(&k.t()?)?.to_dtype(DType::F32)?;
    if config.softcap.is_none() && !scores.track_op() && scores.device().is_cpu() {
        let scale = config.scale as f32;
        scores.inplace_op2(mask, &MaskedSoftmax { scale })?;
        return Ok((scores, None));
    }
    let mut scores = (scores * config.scale)?;
    let mut softcap_derivative = None;
    if let Some(cap) = config.softcap {
        let tanh = (scores / cap)?.tanh()?;
        softcap_derivative = Some((1.0 - tanh.sqr()?)?);
        scores = (tanh * cap)?;
    }
    let scores = scores
        .reshape((groups * rows / queries, queries, length))?
        .broadcast_add(mask)?;
    let probs = if scores.track_op() {
        candle_nn::ops::softmax(&scores, 2)?
    } else {
        candle_nn::ops::softmax_last_dim(&scores)?
    };
    Ok((probs.reshape((groups, rows, length))?, softcap_derivative))
}
