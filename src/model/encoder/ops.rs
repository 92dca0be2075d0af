//! Which steps is an encoder made of? candle's ops, on any device and in any precision.
//!
//! Rows are tokens: texts stand one after another without padding. On the CPU in f32 `fused` does
//! the same faster.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, layer_norm_slow, softmax_last_dim};

use crate::kernel::rotary;

/// A linear layer: `x W^T + b`, `weight` of shape (out, in).
#[derive(Debug, Clone)]
pub struct Linear {
    /// Shape (out, in).
    pub weight: Tensor,
    /// Shape (out).
    pub bias: Tensor,
}

/// A layer norm.
#[derive(Debug, Clone)]
pub struct LayerNormWeights {
    /// Shape (width).
    pub weight: Tensor,
    /// Shape (width).
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f32,
}

/// The turning of queries and keys by their positions, with its tables where the model runs.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// The tables on the CPU.
    pub angles: rotary::Rotary,
    /// Shape (positions, half a head).
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// See [`rotary::Rotary::new`].
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(
        base: f64,
        head: usize,
        positions: usize,
        precision: DType,
        device: &Device,
    ) -> Result<Self> {
        let angles = rotary::Rotary::new(base, head, positions);
        let table = |values: &[f32]| {
            Tensor::from_slice(values, (positions, head / 2), device)?.to_dtype(precision)
        };
        Ok(Self {
            cos: table(&angles.cos)?,
            sin: table(&angles.sin)?,
            angles,
        })
    }
}

/// Where each token stands: what attention needs to know of a batch.
#[derive(Debug)]
pub struct BatchLayout<'a> {
    /// The texts' numbers of tokens.
    pub lengths: &'a [usize],
    /// Each token's position.
    pub positions: &'a [u32],
}

/// `x W^T + b`.
///
/// # Errors
/// When the device refuses, as without memory.
pub fn linear(x: &Tensor, layer: &Linear) -> Result<Tensor> {
    x.matmul(&layer.weight.t()?)?.broadcast_add(&layer.bias)
}

/// The layer norm of each row.
///
/// # Errors
/// As [`linear`].
pub fn norm(x: &Tensor, norm: &LayerNormWeights) -> Result<Tensor> {
    match x.dtype() {
        // candle's fused one knows no f64.
        DType::F64 => layer_norm_slow(x, &norm.weight, &norm.bias, norm.eps),
        DType::F32 => layer_norm(x, &norm.weight, &norm.bias, norm.eps),
        _ => wide(x, |x| {
            let kind = x.dtype();
            let (weight, bias) = (norm.weight.to_dtype(kind)?, norm.bias.to_dtype(kind)?);
            layer_norm(x, &weight, &bias, norm.eps)
        }),
    }
}

/// A step in f32 where `x` is of half precision and on the CPU, as in tests alone: there candle adds up
/// in half precision what a GPU adds up in f32.
fn wide(x: &Tensor, step: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if x.device().is_cpu() && matches!(x.dtype(), DType::BF16 | DType::F16) {
        step(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())
    } else {
        step(x)
    }
}

/// Softmax attention within each text; `qkv` has a row `[q | k | v]` a token. Texts are padded to
/// the longest for the products, and for them only.
///
/// # Errors
/// As [`linear`].
pub fn attention(
    qkv: &Tensor,
    texts: &BatchLayout<'_>,
    heads: usize,
    rotary: Option<&Rotary>,
) -> Result<Tensor> {
    let (tokens, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let (count, size) = (texts.lengths.len(), width / heads);
    let longest = texts.lengths.iter().copied().max().unwrap_or_default();
    // Where each padded place finds its token, and where each token is found again.
    let mut places = vec![0_u32; count * longest];
    let mut back = Vec::with_capacity(tokens);
    let mut mask = vec![f32::NEG_INFINITY; count * longest];
    for (text, &length) in texts.lengths.iter().enumerate() {
        for token in 0..length {
            let place = text * longest + token;
            places[place] = back.len() as u32;
            mask[place] = 0.0;
            back.push(place as u32);
        }
    }
    let device = qkv.device();
    let places = Tensor::from_vec(places, count * longest, device)?;
    let back = Tensor::from_vec(back, tokens, device)?;
    let mask = Tensor::from_vec(mask, (count, 1, 1, longest), device)?.to_dtype(qkv.dtype())?;
    let qkv = qkv.reshape((tokens, 3, heads, size))?;
    let angles = match rotary {
        None => None,
        Some(rotary) => {
            let positions = Tensor::from_slice(texts.positions, tokens, device)?;
            let of = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
            Some((of(&rotary.cos)?, of(&rotary.sin)?))
        }
    };
    let part = |which: usize| -> Result<Tensor> {
        let mut rows = qkv.narrow(1, which, 1)?.squeeze(1)?;
        if let Some((cos, sin)) = &angles
            && which < 2
        {
            let first = rows.narrow(2, 0, size / 2)?;
            let second = rows.narrow(2, size / 2, size / 2)?;
            let turned = [
                (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?,
                (second.broadcast_mul(cos)? + first.broadcast_mul(sin)?)?,
            ];
            rows = Tensor::cat(&turned, 2)?;
        }
        let padded = rows.contiguous()?.index_select(&places, 0)?;
        padded
            .reshape((count, longest, heads, size))?
            .transpose(1, 2)?
            .contiguous()
    };
    let scale = 1.0 / (size as f64).sqrt();
    let scores = (part(0)?.matmul(&part(1)?.transpose(2, 3)?)? * scale)?.broadcast_add(&mask)?;
    let shares = wide(&scores, softmax_last_dim)?;
    let mixed = shares.matmul(&part(2)?)?;
    let rows = mixed.transpose(1, 2)?.reshape((count * longest, width))?;
    rows.index_select(&back, 0)
}
