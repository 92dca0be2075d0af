//! KV cache: keys and values of earlier tokens in every layer, appended in blocks, for token-by-token decoding.

use candle_core::{DType, Result, Tensor};

use super::attention::{attention, attention_probs, group_heads, ungroup_heads};
use super::packed::PackedSequences;
use super::rope::RotaryTables;
use super::{Decoder, DecoderLayer, NoTape, Projection};
use crate::ops::linear::MAX_SKINNY_ROWS;
use crate::ops::norm::rms_norm;

/// Block size: the cache's capacity is a multiple of this many tokens.
const BLOCK: usize = 128;

/// The KV cache of one sequence. Each sequence has its own, so that on the CPU its next token does not
/// depend on the other sequences of the batch.
#[derive(Debug)]
pub struct KvCache {
    /// Keys and values of each layer, shape (`kv_heads`, capacity, D).
    layers: Vec<Option<(Tensor, Tensor)>>,
    /// The number of cached tokens.
    pub tokens: usize,
}

impl KvCache {
    /// An empty cache for a decoder with this many layers.
    pub fn new(layers: usize) -> Self {
        Self {
            layers: vec![None; layers],
            tokens: 0,
        }
    }

    /// Appends keys and values, shape (`kv_heads`, new tokens, D), at token offset `from`; returns all keys
    /// and all values up to and including the new ones.
    fn append(&mut self, layer: usize, from: usize, k: &Tensor, v: &Tensor) -> Result<[Tensor; 2]> {
        let (groups, tokens, head_dim) = k.dims3()?;
        let needed = from + tokens;
        let cached = match &self.layers[layer] {
            Some((keys, values)) if keys.dim(1)? >= needed => (keys.clone(), values.clone()),
            old => {
                // Capacity doubles, so that the cost of copies is amortised.
                let capacity = needed.max(2 * from).next_multiple_of(BLOCK);
                let grown = |old: Option<&Tensor>, like: &Tensor| {
                    let shape = (groups, capacity, head_dim);
                    let new = Tensor::zeros(shape, like.dtype(), like.device())?;
                    if let Some(old) = old {
                        new.slice_set(&old.narrow(1, 0, from)?.contiguous()?, 1, 0)?;
                    }
                    Ok::<_, candle_core::Error>(new)
                };
                let (keys, values) = old
                    .as_ref()
                    .map_or((None, None), |(k, v)| (Some(k), Some(v)));
                (grown(keys, k)?, grown(values, v)?)
            }
        };
        cached.0.slice_set(&k.contiguous()?, 1, from)?;
        cached.1.slice_set(&v.contiguous()?, 1, from)?;
        let all = [
            cached.0.narrow(1, 0, needed)?,
            cached.1.narrow(1, 0, needed)?,
        ];
        self.layers[layer] = Some(cached);
        Ok(all)
    }
}

impl<P: Projection> Decoder<P> {
    /// Prefill: runs prompts, packed without padding, and fills their empty caches; returns the logits of
    /// each prompt's next token, V values per prompt.
    ///
    /// # Errors
    /// When a prompt has no token, or the device fails.
    pub fn prefill(
        &self,
        prompts: &[&[u32]],
        caches: &mut [&mut KvCache],
    ) -> Result<Vec<Vec<f32>>> {
        let mut lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let mut ids = prompts.concat();
        // Padding to more rows makes a short prompt alone use the same kernel, and give the same bits, as in a
        // batch.
        if ids.len() <= MAX_SKINNY_ROWS {
            lengths.push(MAX_SKINNY_ROWS + 1 - ids.len());
            ids.resize(MAX_SKINNY_ROWS + 1, 0);
        }
        let packed = PackedSequences::new(&lengths, &self.config, &self.device)?;
        let mut x = self.embed(&ids)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let attend = |q: &Tensor, k: &Tensor, v: &Tensor| {
                let mut start = 0;
                for (cache, &length) in caches.iter_mut().zip(&lengths) {
                    let by_head = |x: &Tensor| x.narrow(0, start, length)?.transpose(0, 1);
                    cache.append(number, 0, &by_head(k)?, &by_head(v)?)?;
                    start += length;
                }
                attention(q, k, v, &packed, &layer.attention)
            };
            x = layer.forward_with(&x, &self.config, &packed.rotary, attend, &mut NoTape)?;
        }
        for (cache, &length) in caches.iter_mut().zip(&lengths) {
            cache.tokens = length;
        }
        let last_rows = PackedSequences::last_rows(&lengths[..prompts.len()]);
        let last = x.index_select(&Tensor::new(last_rows, &self.device)?, 0)?;
        self.next_logits(&last)
    }

    /// Decode step: runs one new token of each sequence; returns the logits of each sequence's next token, V
    /// values per sequence.
    ///
    /// # Errors
    /// When the device fails.
    pub fn decode_step(&self, ids: &[u32], caches: &mut [&mut KvCache]) -> Result<Vec<Vec<f32>>> {
        let size = self.rows_per_product();
        let parts = ids.chunks(size).zip(caches.chunks_mut(size));
        let logits = parts.map(|(ids, caches)| self.decode_chunk(ids, caches));
        Ok(logits.collect::<Result<Vec<_>>>()?.concat())
    }

    /// [`Self::decode_step`] for at most [`Self::rows_per_product`] sequences.
    fn decode_chunk(&self, ids: &[u32], caches: &mut [&mut KvCache]) -> Result<Vec<Vec<f32>>> {
        let positions: Vec<usize> = caches.iter().map(|cache| cache.tokens).collect();
        let (ropes, head_dim) = (&self.config.ropes, self.config.head_dim);
        let rotary = RotaryTables::new(&positions, ropes, head_dim, &self.device)?;
        let mut x = self.embed(ids)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let attend = |q: &Tensor, k: &Tensor, v: &Tensor| {
                let outputs = caches.iter_mut().enumerate().map(|(row, cache)| {
                    let row_of = |x: &Tensor| x.narrow(0, row, 1);
                    attend_to_cache(layer, number, cache, &row_of(q)?, &row_of(k)?, &row_of(v)?)
                });
                Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 0)
            };
            x = layer.forward_with(&x, &self.config, &rotary, attend, &mut NoTape)?;
        }
        for cache in caches {
            cache.tokens += 1;
        }
        self.next_logits(&x)
    }

    /// Logits of the next token from the last layer's output: shape (sequences, H) to V values per sequence.
    fn next_logits(&self, x: &Tensor) -> Result<Vec<Vec<f32>>> {
        let hidden = rms_norm(x, &self.norm, self.config.rms_norm_eps)?;
        let (count, size) = (hidden.dim(0)?, self.rows_per_product());
        let parts = (0..count).step_by(size).map(|start| {
            let part = hidden.narrow(0, start, size.min(count - start))?;
            self.logits(&part)?.to_vec2()
        });
        Ok(parts.collect::<Result<Vec<Vec<_>>>>()?.concat())
    }

    /// The number of rows of one matrix product: on the CPU always few enough for the skinny GEMM kernel, so
    /// that the bits of a sequence do not depend on the batch size.
    fn rows_per_product(&self) -> usize {
        if self.device.is_cpu() {
            MAX_SKINNY_ROWS
        } else {
            usize::MAX
        }
    }
}

/// Attention of one new token to its sequence: `q` of shape (1, heads, D), `k` and `v` of (1, `kv_heads`,
/// D), which are appended to the cache; returns (1, heads * D).
fn attend_to_cache<P>(
    layer: &DecoderLayer<P>,
    number: usize,
    cache: &mut KvCache,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
) -> Result<Tensor> {
    let groups = k.dim(1)?;
    let by_head = |x: &Tensor| x.transpose(0, 1);
    let [keys, values] = cache.append(number, cache.tokens, &by_head(k)?, &by_head(v)?)?;
    let length = cache.tokens + 1;
    let start = layer
        .attention
        .sliding_window
        .map_or(0, |window| length.saturating_sub(window));
    let in_window = |x: &Tensor| x.narrow(1, start, length - start);
    let (keys, values) = (in_window(&keys)?, in_window(&values)?);
    let rows = group_heads(q, groups)?;
    let mask = Tensor::zeros((1, length - start), DType::F32, q.device())?;
    let (probs, _) = attention_probs(&rows, &keys, &mask, &layer.attention)?;
    let output = probs.to_dtype(values.dtype())?.matmul(&values)?;
    ungroup_heads(&output, 1)?.flatten(1, 2)
}
