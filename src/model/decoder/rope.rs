//! RoPE parameters of a layer: the base of the frequencies and their scaling; and the tables of a batch.

use candle_core::{Device, Result, Tensor};

use crate::kernel::rotary;
use crate::ops::rotary::RotaryEmbedding;

/// RoPE parameters (Su et al. 2021): the base of the frequencies and their scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies, `rope_theta`, above 1.
    pub theta: f64,
    /// The scaling of frequencies to longer contexts.
    pub scaling: RopeScaling,
}

/// RoPE scaling (transformers: `modeling_rope_utils.py`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// No scaling: `default`.
    None,
    /// All frequencies are divided by a factor: `linear`.
    Linear(f64),
    /// Llama 3.1: low frequencies are divided, high ones unchanged, those between interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high ones.
        high_freq_factor: f64,
        /// The context length of pre-training, in tokens.
        original_max_position_embeddings: f64,
    },
}

impl RopeConfig {
    /// The scaled inverse frequencies of a head of `head_dim` values, `head_dim / 2` of them
    /// (transformers: `inv_freq`).
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f64> {
        let unscaled = rotary::inv_freq(self.theta, head_dim).into_iter();
        unscaled.map(|frequency| self.scaled(frequency)).collect()
    }

    /// An inverse frequency after RoPE scaling.
    fn scaled(&self, frequency: f64) -> f64 {
        match self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear(factor) => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                // The number of full rotations over the original context.
                let turns = original * frequency / std::f64::consts::TAU;
                if turns < low {
                    frequency / factor
                } else if turns > high {
                    frequency
                } else {
                    let smooth = (turns - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

/// The RoPE angles of the tokens of a batch: one table for each set of RoPE parameters that a model's layers have
/// (Gemma 3: two, all others: one).
#[derive(Debug)]
pub struct RotaryTables(Vec<(RopeConfig, RotaryEmbedding)>);

impl RotaryTables {
    /// The tables of tokens at these positions in their sequences, one row a token, for a model whose layers have
    /// these parameters and heads of `head_dim` values.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn new(
        positions: &[usize],
        ropes: &[RopeConfig],
        head_dim: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut tables: Vec<(RopeConfig, RotaryEmbedding)> = Vec::new();
        for rope in ropes {
            if tables.iter().all(|(known, _)| known != rope) {
                let inv_freq = rope.inv_freq(head_dim);
                let table = RotaryEmbedding::new(positions.iter().copied(), &inv_freq, device)?;
                tables.push((*rope, table));
            }
        }
        Ok(Self(tables))
    }

    /// The table of a layer with these parameters.
    fn table(&self, rope: &RopeConfig) -> Result<&RotaryEmbedding> {
        match self.0.iter().find(|(known, _)| known == rope) {
            Some((_, table)) => Ok(table),
            None => candle_core::bail!("no layer has the RoPE parameters {rope:?}"),
        }
    }

    /// Rotates queries or keys of a layer with these parameters: shape (T, heads, D).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, rope: &RopeConfig, x: &Tensor) -> Result<Tensor> {
        self.table(rope)?.forward(x)
    }

    /// The gradient of the input of [`Self::forward`].
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward(&self, rope: &RopeConfig, dy: &Tensor) -> Result<Tensor> {
        self.table(rope)?.backward(dy)
    }
}
