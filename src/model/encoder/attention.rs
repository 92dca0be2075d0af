//! Bidirectional attention of packed texts with candle operations, on any device and in any dtype. The
//! fused CPU kernel is [`crate::kernel::attention`].

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::ops::norm::upcast_on_cpu;
use crate::ops::rotary::RotaryEmbedding;

/// Batch layout: index tables that pad packed texts to a rectangle for attention. All other layers run
/// without padding.
#[derive(Debug)]
pub(super) struct BatchLayout {
    /// The number of texts (B).
    texts: usize,
    /// The number of tokens of the longest text (L).
    longest: usize,
    /// The packed row of each padded cell, shape (B * L); row 0 for padding.
    pad: Tensor,
    /// The padded cell of each packed row, shape (T).
    unpad: Tensor,
    /// Shape (B, 1, 1, L): 0 for tokens, -inf for padding.
    mask: Tensor,
}

impl BatchLayout {
    /// The layout of texts with these numbers of tokens.
    pub(super) fn new(lengths: &[usize], device: &Device) -> Result<Self> {
        let texts = lengths.len();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut pad = vec![0_u32; texts * longest];
        let mut unpad = Vec::new();
        let mut mask = vec![f32::NEG_INFINITY; texts * longest];
        for (text, &length) in lengths.iter().enumerate() {
            for token in 0..length {
                let cell = text * longest + token;
                pad[cell] = unpad.len() as u32;
                mask[cell] = 0.0;
                unpad.push(cell as u32);
            }
        }
        let tokens = unpad.len();
        Ok(Self {
            texts,
            longest,
            pad: Tensor::from_vec(pad, texts * longest, device)?,
            unpad: Tensor::from_vec(unpad, tokens, device)?,
            mask: Tensor::from_vec(mask, (texts, 1, 1, longest), device)?,
        })
    }
}

/// Softmax attention within each text: `qkv` of shape (T, 3H), one row `[q | k | v]` per token, to (T, H).
/// `rotary` has one row per token.
///
/// # Errors
/// When the device fails, for example out of memory.
pub(super) fn attention(
    qkv: &Tensor,
    layout: &BatchLayout,
    heads: usize,
    rotary: Option<&RotaryEmbedding>,
) -> Result<Tensor> {
    let (tokens, hidden_size) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let (texts, longest, head_dim) = (layout.texts, layout.longest, hidden_size / heads);
    let qkv = qkv.reshape((tokens, 3, heads, head_dim))?;
    let padded = |x: Tensor| {
        let rows = x.contiguous()?.index_select(&layout.pad, 0)?;
        rows.reshape((texts, longest, heads, head_dim))?
            .transpose(1, 2)?
            .contiguous()
    };
    let part = |which: usize| qkv.narrow(1, which, 1)?.squeeze(1);
    let rotated = |which: usize| match rotary {
        Some(rotary) => rotary.forward(&part(which)?),
        None => part(which),
    };
    let (q, k, v) = (
        padded(rotated(0)?)?,
        padded(rotated(1)?)?,
        padded(part(2)?)?,
    );
    let scale = 1.0 / (head_dim as f64).sqrt();
    let scores = (q.matmul(&k.transpose(2, 3)?)? * scale)?;
    let scores = scores.broadcast_add(&layout.mask.to_dtype(qkv.dtype())?)?;
    let probs = upcast_on_cpu(&scores, softmax_last_dim)?;
    let output = probs.matmul(&v)?.transpose(1, 2)?;
    output
        .reshape((texts * longest, hidden_size))?
        .index_select(&layout.unpad, 0)
}
