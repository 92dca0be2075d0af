//! Which steps is a decoder made of? candle's ops, with gradients where they are tracked.
//!
//! candle's fused norm, softmax and rotation drop gradients in silence: where one is tracked, each
//! step takes the slow way that keeps it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{DType, Device, Result, Tensor};

use super::config::{Config, Family};
use crate::kernel::masked_softmax::MaskedSoftmax;
use crate::kernel::skinny_gemm::SkinnyGemm;

/// By how much positions turn queries and keys.
#[derive(Debug)]
pub struct RotaryEmbedding {
    /// Shape (tokens, 1, half a head): the angles' cosines and sines.
    cos: Tensor,
    sin: Tensor,
}

impl RotaryEmbedding {
    /// The angles of tokens at these positions.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(
        positions: impl Iterator<Item = usize>,
        config: &Config,
        device: &Device,
    ) -> Result<Self> {
        let frequencies = config.rope.frequencies(config.head);
        let angles: Vec<f32> = positions
            .flat_map(|position| {
                // transformers multiplies in f32.
                let turn = move |frequency: &f64| position as f32 * *frequency as f32;
                frequencies.iter().map(turn)
            })
            .collect();
        let half = config.head / 2;
        let angles = Tensor::from_slice(&angles, (angles.len() / half, 1, half), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }
}

/// Several texts that stand one after another: their lengths, and what depends on these alone.
#[derive(Debug)]
pub struct PackedSequences {
    /// Each text's number of tokens.
    pub lengths: Vec<usize>,
    /// By how much each token's position turns it.
    pub angles: RotaryEmbedding,
    /// Shape (longest, longest), by window: 0 where a token sees another, else -inf.
    masks: HashMap<Option<usize>, Tensor>,
}

impl PackedSequences {
    /// The tables for texts of these lengths.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(lengths: &[usize], config: &Config, device: &Device) -> Result<Self> {
        let positions = lengths.iter().flat_map(|&length| 0..length);
        let angles = RotaryEmbedding::new(positions, config, device)?;
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut masks = HashMap::new();
        for &window in &config.windows {
            if let Entry::Vacant(place) = masks.entry(window) {
                place.insert(mask(longest, window, device)?);
            }
        }
        Ok(Self {
            lengths: lengths.to_vec(),
            angles,
            masks,
        })
    }

    /// Who sees whom in a text of this length: shape (length, length).
    ///
    /// # Errors
    /// When no text is as long, or no layer has that window.
    pub fn mask(&self, length: usize, window: Option<usize>) -> Result<Tensor> {
        match self.masks.get(&window) {
            Some(mask) => mask.narrow(0, 0, length)?.narrow(1, 0, length),
            None => candle_core::bail!("no layer has a window of {window:?}"),
        }
    }
}

fn mask(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let sees = |from: usize, to: usize| to <= from && window.is_none_or(|size| from - to < size);
    let value = |cell: usize| {
        if sees(cell / length, cell % length) {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    };
    let values: Vec<f32> = (0..length * length).map(value).collect();
    Tensor::from_vec(values, (length, length), device)
}

/// Up to so many rows are multiplied by a loop of their own on the CPU, more by gemm.
pub const MAX_SKINNY_ROWS: usize = 32;

/// `x W^T`, `x` of shape (rows, in), `weight` of (out, in). In f32 on the CPU a row's product has the
/// same bits whichever rows are beside it, among up to [`MAX_SKINNY_ROWS`] rows and among more.
///
/// # Errors
/// When shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    /// gemm adds up small products in other orders than all others: with fewer than 65 rows, or than 257
    /// values. Those of narrow weights get rows of zeros beside them.
    const NARROW: usize = 64;
    const ROWS: usize = 257;
    let (rows, out) = (x.dim(0)?, weight.dim(0)?);
    let is_plain = x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op();
    if !is_plain || rows == 0 || (rows > MAX_SKINNY_ROWS && (out > NARROW || rows >= ROWS)) {
        return x.matmul(&weight.t()?);
    }
    if rows <= MAX_SKINNY_ROWS {
        return x
            .contiguous()?
            .apply_op2_no_bwd(&weight.contiguous()?, &SkinnyGemm);
    }
    x.pad_with_zeros(0, 0, ROWS - rows)?
        .matmul(&weight.t()?)?
        .narrow(0, 0, rows)
}

/// `weight * x / sqrt(mean(x^2) + eps)` over the last dimension (PyTorch: `nn.RMSNorm`); in f32 and
/// then rounded where the weight is more precise than `x`.
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

/// Turns queries or keys, shape (tokens, heads, head), by their positions; `backward` turns them
/// back, which is what a gradient needs.
///
/// # Errors
/// When shapes do not fit.
pub fn rope(x: &Tensor, angles: &RotaryEmbedding, backward: bool) -> Result<Tensor> {
    let half = x.dim(2)? / 2;
    let (cos, sin) = (
        angles.cos.to_dtype(x.dtype())?,
        angles.sin.to_dtype(x.dtype())?,
    );
    let sin = if backward { sin.neg()? } else { sin };
    let first = x.narrow(2, 0, half)?;
    let second = x.narrow(2, half, half)?;
    let turned = [
        (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?,
        (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?,
    ];
    Tensor::cat(&turned, 2)
}

/// How a layer's attention is scaled, capped and limited.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// What scores are multiplied by.
    pub scale: f64,
    /// Where they are capped.
    pub cap: Option<f64>,
    /// How many tokens back a token sees.
    pub window: Option<usize>,
}

/// Attention within each text, causal: `q` of shape (tokens, heads, head), `k` and `v` of (tokens,
/// `kv_heads`, head); gives (tokens, heads * head).
///
/// # Errors
/// When shapes do not fit.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &PackedSequences,
    how: &Attention,
) -> Result<Tensor> {
    let groups = k.dim(1)?;
    let mut start = 0;
    let mut mixed = Vec::with_capacity(segments.lengths.len());
    for &length in &segments.lengths {
        let part = |x: &Tensor| by_group(&x.narrow(0, start, length)?, groups);
        let mask = segments.mask(length, how.window)?;
        let (probabilities, _) = probabilities(&part(q)?, &part(k)?, &mask, how)?;
        let rows = probabilities.to_dtype(v.dtype())?.matmul(&part(v)?)?;
        mixed.push(from_groups(&rows, length)?);
        start += length;
    }
    Tensor::cat(&mixed, 0)?.flatten(1, 2)
}

/// Rows of (length, heads, head) as (groups, heads a group * length, head).
///
/// # Errors
/// When the heads do not divide among the groups.
pub fn by_group(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (length, heads, head) = x.dims3()?;
    let each = heads / groups;
    x.reshape((length, groups, each, head))?
        .permute((1, 2, 0, 3))?
        .contiguous()?
        .reshape((groups, each * length, head))
}

/// The inverse of [`by_group`].
///
/// # Errors
/// When the rows are no multiple of the length.
pub fn from_groups(x: &Tensor, length: usize) -> Result<Tensor> {
    let (groups, rows, head) = x.dims3()?;
    let each = rows / length;
    x.reshape((groups, each, length, head))?
        .permute((2, 0, 1, 3))?
        .contiguous()?
        .reshape((length, groups * each, head))
}

/// What each query, shape (groups, rows, head), gives each key, (groups, length, head): in f32, of
/// shape (groups, rows, length); with it the derivative of the cap, where there is one. The mask, of
/// shape (tokens, length), is the same for every head.
///
/// # Errors
/// When shapes do not fit.
pub fn probabilities(
    q: &Tensor,
    k: &Tensor,
    mask: &Tensor,
    how: &Attention,
) -> Result<(Tensor, Option<Tensor>)> {
    let (groups, rows, _) = q.dims3()?;
    let (tokens, length) = mask.dims2()?;
    let scores = q.matmul(&k.t()?)?.to_dtype(DType::F32)?;
    if how.cap.is_none() && !scores.track_op() && scores.device().is_cpu() {
        let scale = how.scale as f32;
        scores.inplace_op2(mask, &MaskedSoftmax { scale })?;
        return Ok((scores, None));
    }
    let mut scores = (scores * how.scale)?;
    let mut slope = None;
    if let Some(cap) = how.cap {
        let bent = (scores / cap)?.tanh()?;
        slope = Some((1.0 - bent.sqr()?)?);
        scores = (bent * cap)?;
    }
    let scores = scores
        .reshape((groups * rows / tokens, tokens, length))?
        .broadcast_add(mask)?;
    let shares = if scores.track_op() {
        candle_nn::ops::softmax(&scores, 2)?
    } else {
        candle_nn::ops::softmax_last_dim(&scores)?
    };
    Ok((shares.reshape((groups, rows, length))?, slope))
}

/// The activation between the feed-forward step's two products: SiLU, or Gemma's tanh GELU.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &Tensor, family: Family) -> Result<Tensor> {
    // candle rounds after each step of these; PyTorch computes in f32 and rounds once.
    let exact = match x.dtype() {
        DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    };
    let y = match family {
        Family::Llama => exact.silu(),
        Family::Gemma2 => exact.gelu(),
    };
    y?.to_dtype(x.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyphony_io::random::SplitMix64;

    /// As of layers, of few key heads, and of an adapter's two halves, at widths of real models.
    #[test]
    fn a_row_of_a_product_does_not_depend_on_those_beside_it() {
        let mut random = SplitMix64::seed_from_u64(5);
        let mut values = |rows: usize, width: usize| {
            let drawn = (0..rows * width).map(|_| (random.next_f64() - 0.5) as f32);
            Tensor::from_vec(drawn.collect(), (rows, width), &Device::Cpu).unwrap()
        };
        let shapes = [
            (2048, 512),
            (576, 1536),
            (4096, 128),
            (896, 128),
            (576, 128),
            (1024, 96),
            (576, 64),
            (512, 64),
            (256, 32),
            (2048, 16),
            (512, 16),
            (16, 2048),
            (128, 896),
            (2, 300),
            (300, 1),
        ];
        for (width, out) in shapes {
            let (weight, x) = (values(out, width), values(300, width));
            let rows_of = |start: usize, rows: usize| -> Vec<Vec<f32>> {
                let some = x.narrow(0, start, rows).unwrap();
                linear(&some, &weight).unwrap().to_vec2().unwrap()
            };
            for of in [
                &[300, 33, 34, 64, 65, 100, 130, 256, 257][..],
                &[32, 1, 2, 3, 4, 5, 8, 13, 31],
            ] {
                let all = rows_of(0, of[0]);
                for &rows in of {
                    for start in [0, 1.min(of[0] - rows), of[0] - rows] {
                        let known = &all[start..start + rows];
                        assert_eq!(rows_of(start, rows), known, "{rows} of {width}, {out} wide");
                    }
                }
            }
            let (few, many) = (rows_of(0, 5), rows_of(0, 130));
            for (few, many) in few.iter().flatten().zip(many.iter().flatten()) {
                assert!((few - many).abs() < 1e-3, "{few} {many}");
            }
        }
    }

    #[test]
    fn a_precise_weight_is_rounded_once() {
        // 1 + 2^-9 is no bfloat16: the nearest is 1, and 1.5 * (1 + 2^-9) lies between two others.
        let weight = Tensor::new(&[1.0_f32 + 1.0 / 512.0; 4], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[3.0_f32, 3.0, 3.0, 1.0]], &Device::Cpu).unwrap();
        let rounded = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        let precise = rms_norm(&x, &weight, 1e-6).unwrap();
        let given = rms_norm(&rounded(&x), &weight, 1e-6).unwrap();
        assert_eq!(given.dtype(), DType::BF16);
        let values =
            |x: &Tensor| -> Vec<Vec<f32>> { x.to_dtype(DType::F32).unwrap().to_vec2().unwrap() };
        assert_eq!(values(&given), values(&rounded(&precise)));
    }
}
