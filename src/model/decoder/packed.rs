//! Packed sequences: several texts one after another without padding, with their RoPE angles and
//! attention masks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Device, Result, Tensor};

use super::config::DecoderConfig;
use super::rope::RotaryTables;

/// The lengths of packed sequences, and the tables that depend on these alone.
#[derive(Debug)]
pub struct PackedSequences {
    /// The number of tokens of each sequence; they add up to T.
    pub lengths: Vec<usize>,
    /// The RoPE angles of each token at its position in its own sequence, T rows.
    pub rotary: RotaryTables,
    /// Causal masks of shape (longest, longest), by sliding window: 0 where query attends to key, else -inf.
    masks: HashMap<Option<usize>, Tensor>,
}

impl PackedSequences {
    /// The tables for sequences of these lengths.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn new(lengths: &[usize], config: &DecoderConfig, device: &Device) -> Result<Self> {
        let positions: Vec<usize> = lengths.iter().flat_map(|&length| 0..length).collect();
        let rotary = RotaryTables::new(&positions, &config.ropes, config.head_dim, device)?;
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut masks = HashMap::new();
        for &window in &config.sliding_windows {
            if let Entry::Vacant(entry) = masks.entry(window) {
                entry.insert(causal_mask(longest, window, device)?);
            }
        }
        Ok(Self {
            lengths: lengths.to_vec(),
            rotary,
            masks,
        })
    }

    /// The causal mask of a sequence of this length, shape (length, length).
    ///
    /// # Errors
    /// When `length` exceeds the longest sequence, or no layer has that sliding window.
    pub fn mask(&self, length: usize, window: Option<usize>) -> Result<Tensor> {
        match self.masks.get(&window) {
            Some(mask) => mask.narrow(0, 0, length)?.narrow(1, 0, length),
            None => candle_core::bail!("no layer has a sliding window of {window:?}"),
        }
    }

    /// The packed row of each sequence's last token. Every length must be at least 1.
    pub fn last_rows(lengths: &[usize]) -> Vec<u32> {
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end as u32 - 1)
        });
        ends.collect()
    }
}

/// A causal mask of shape (length, length): 0 where `key <= query` and, with a sliding window of `size`
/// tokens, `query - key < size`; else -inf.
fn causal_mask(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let attends =
        |query: usize, key: usize| key <= query && window.is_none_or(|size| query - key < size);
    let value = |cell: usize| {
        if attends(cell / length, cell % length) {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    };
    let values: Vec<f32> = (0..length * length).map(value).collect();
    Tensor::from_vec(values, (length, length), device)
}
