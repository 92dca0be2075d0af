//! What does a decoder remember of a text that it has read? Every layer's keys and values.

use candle_core::{DType, Result, Tensor};

use super::ops::{self, MAX_SKINNY_ROWS, PackedSequences, RotaryEmbedding};
use super::{Decoder, Layer, Projection};

/// Keys and values are kept in steps of so many tokens.
const GROWTH: usize = 128;

/// One text's keys and values. Each text has its own: on the CPU what it says next does not depend on which
/// others are read beside it.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    /// How many tokens were read.
    pub tokens: usize,
}

impl KvCache {
    /// Of nothing.
    pub fn new(layers: usize) -> Self {
        Self {
            layers: vec![None; layers],
            tokens: 0,
        }
    }

    /// Keeps keys and values, shape (`kv_heads`, tokens, head), behind those of `from` tokens; gives
    /// all that are kept.
    fn keep(&mut self, layer: usize, from: usize, k: &Tensor, v: &Tensor) -> Result<[Tensor; 2]> {
        let (groups, tokens, head) = k.dims3()?;
        let needed = from + tokens;
        let kept = match &self.layers[layer] {
            Some((keys, values)) if keys.dim(1)? >= needed => (keys.clone(), values.clone()),
            old => {
                // Twice as much as before, so that growing costs little in all.
                let room = needed.max(2 * from).next_multiple_of(GROWTH);
                let grown = |old: Option<&Tensor>, like: &Tensor| {
                    let new = Tensor::zeros((groups, room, head), like.dtype(), like.device())?;
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
        kept.0.slice_set(&k.contiguous()?, 1, from)?;
        kept.1.slice_set(&v.contiguous()?, 1, from)?;
        let all = [kept.0.narrow(1, 0, needed)?, kept.1.narrow(1, 0, needed)?];
        self.layers[layer] = Some(kept);
        Ok(all)
    }
}

impl<P: Projection> Decoder<P> {
    /// Reads the beginnings of texts, one after another without padding; logits of their next
    /// tokens, a row a text, a number a word of the vocabulary.
    ///
    /// # Errors
    /// When a text has no token, or the device fails.
    pub fn read(&self, texts: &[&[u32]], caches: &mut [&mut KvCache]) -> Result<Vec<Vec<f32>>> {
        let mut lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let mut ids = texts.concat();
        // A short text alone is read as it is beside others: by the product of many rows.
        if ids.len() <= MAX_SKINNY_ROWS {
            lengths.push(MAX_SKINNY_ROWS + 1 - ids.len());
            ids.resize(MAX_SKINNY_ROWS + 1, 0);
        }
        let segments = PackedSequences::new(&lengths, &self.config, &self.device)?;
        let mut x = self.embed(&ids)?;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward_with(&x, &self.config, &segments.angles, |q, k, v| {
                let mut start = 0;
                for (cache, &length) in caches.iter_mut().zip(&lengths) {
                    let by_head = |x: &Tensor| x.narrow(0, start, length)?.transpose(0, 1);
                    cache.keep(number, 0, &by_head(k)?, &by_head(v)?)?;
                    start += length;
                }
                ops::attention(q, k, v, &segments, &layer.attention)
            })?;
        }
        let mut ends = Vec::with_capacity(texts.len());
        let mut end = 0;
        for (cache, &length) in caches.iter_mut().zip(&lengths) {
            cache.tokens = length;
            end += length;
            ends.push(end as u32 - 1);
        }
        let last = x.index_select(&Tensor::new(ends, &self.device)?, 0)?;
        self.next(&last)
    }

    /// Reads one more token of each text; logits of their next, a row a text, a number a word of the vocabulary.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&self, ids: &[u32], caches: &mut [&mut KvCache]) -> Result<Vec<Vec<f32>>> {
        let at_once = self.at_once();
        let parts = ids.chunks(at_once).zip(caches.chunks_mut(at_once));
        let logits = parts.map(|(ids, caches)| self.step_of(ids, caches));
        Ok(logits.collect::<Result<Vec<_>>>()?.concat())
    }

    fn step_of(&self, ids: &[u32], caches: &mut [&mut KvCache]) -> Result<Vec<Vec<f32>>> {
        let positions = caches.iter().map(|cache| cache.tokens);
        let angles = RotaryEmbedding::new(positions, &self.config, &self.device)?;
        let mut x = self.embed(ids)?;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward_with(&x, &self.config, &angles, |q, k, v| {
                let mixed = caches.iter_mut().enumerate().map(|(text, cache)| {
                    let of = |x: &Tensor| x.narrow(0, text, 1);
                    attend(layer, number, cache, &of(q)?, &of(k)?, &of(v)?)
                });
                Tensor::cat(&mixed.collect::<Result<Vec<_>>>()?, 0)
            })?;
        }
        for cache in caches {
            cache.tokens += 1;
        }
        self.next(&x)
    }

    /// Logits of the tokens behind rows of the last layer.
    fn next(&self, rows: &Tensor) -> Result<Vec<Vec<f32>>> {
        let rows = ops::rms_norm(rows, &self.norm, self.config.eps)?;
        let (count, at_once) = (rows.dim(0)?, self.at_once());
        let parts = (0..count).step_by(at_once).map(|start| {
            let part = rows.narrow(0, start, at_once.min(count - start))?;
            self.logits(&part)?.to_vec2()
        });
        Ok(parts.collect::<Result<Vec<Vec<_>>>>()?.concat())
    }

    /// How many rows go through a product at a time: on the CPU by that of few rows, however many there
    /// are.
    fn at_once(&self) -> usize {
        if self.device.is_cpu() {
            MAX_SKINNY_ROWS
        } else {
            usize::MAX
        }
    }
}

/// Attention of one new token, `q` of shape (1, heads, head), to all that its text holds; gives (1,
/// heads * head).
fn attend<P>(
    layer: &Layer<P>,
    number: usize,
    cache: &mut KvCache,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
) -> Result<Tensor> {
    let groups = k.dim(1)?;
    let by_head = |x: &Tensor| x.transpose(0, 1);
    let [keys, values] = cache.keep(number, cache.tokens, &by_head(k)?, &by_head(v)?)?;
    let seen = cache.tokens + 1;
    let from = layer
        .attention
        .window
        .map_or(0, |window| seen.saturating_sub(window));
    let within = |x: &Tensor| x.narrow(1, from, seen - from);
    let (keys, values) = (within(&keys)?, within(&values)?);
    let rows = ops::by_group(q, groups)?;
    let all = Tensor::zeros((1, seen - from), DType::F32, q.device())?;
    let (shares, _) = ops::probabilities(&rows, &keys, &all, &layer.attention)?;
    let mixed = shares.to_dtype(values.dtype())?.matmul(&values)?;
    ops::from_groups(&mixed, 1)?.flatten(1, 2)
}
