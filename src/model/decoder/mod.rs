//! Decoder-only transformers: the Llama, Mistral, Qwen and Gemma families, with and without a KV cache. There is one
//! decoder, whose configuration says what differs.
//!
//! One forward of a layer serves generation, reward models and training: training runs it with a `Tape`.
//! Shapes: T tokens of all sequences together, H hidden size, D head size, V vocabulary.

pub mod attention;
pub mod config;
pub mod family;
#[cfg(test)]
mod golden;
pub mod kv_cache;
mod layer;
pub mod packed;
pub mod rope;
mod tape;

use candle_core::{DType, Device, Tensor};

use self::config::DecoderConfig;
use self::packed::PackedSequences;
use crate::Result;
use crate::files::ModelFiles;
use crate::ops::linear::linear;
use crate::ops::norm::rms_norm;
use crate::weights::Weights;

pub use self::layer::{DecoderLayer, PROJECTIONS};
pub use self::tape::{LayerTensor, NoTape, Tape};

/// A linear projection of a layer: a frozen weight, or one with a LoRA adapter.
pub trait Projection {
    /// The projection of each row: shape (T, in) to (T, out).
    ///
    /// # Errors
    /// When the device fails.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor>;
}

/// A frozen weight of shape (out, in).
impl Projection for Tensor {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, self)
    }
}

/// A decoder whose layers have projections of type `P`.
#[derive(Debug)]
pub struct Decoder<P> {
    /// The configuration, from config.json.
    pub config: DecoderConfig,
    /// Token embedding table, shape (V, H).
    pub token_embeddings: Tensor,
    /// The layers, first to last.
    pub layers: Vec<DecoderLayer<P>>,
    /// The weight of the last RMS norm, shape (H).
    pub norm: Tensor,
    /// The LM head, shape (V, H), or the reward head, shape (1, H).
    pub head: Tensor,
    /// The device of all tensors.
    pub device: Device,
}

/// The output head that a decoder is loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The LM head: a logit for each token of the vocabulary.
    Lm,
    /// A reward head: one number, from `score.weight`; zeros where the model has none (a base model).
    Score,
}

impl<P> Decoder<P> {
    /// Loads a decoder. `project` turns a module path, as `model.layers.N.self_attn.q_proj`, and its weight
    /// into a projection: this is where LoRA adapters are added.
    ///
    /// # Errors
    /// When a file or tensor is missing or has another shape than config.json says.
    #[tracing::instrument(name = "load_decoder", skip_all, fields(model = files.name))]
    pub fn load(
        files: &ModelFiles,
        head: Head,
        dtype: DType,
        device: &Device,
        mut project: impl FnMut(&str, Tensor) -> Result<P>,
    ) -> Result<Self> {
        let config = DecoderConfig::read(files)?;
        let weights = Weights::open(files, device, dtype)?;
        let layers = (0..config.sliding_windows.len())
            .map(|number| DecoderLayer::load(&config, &weights, number, &mut project))
            .collect::<Result<_>>()?;
        let (vocab_size, hidden_size) = (config.vocab_size, config.hidden_size);
        let token_embeddings =
            weights.get("model.embed_tokens.weight", &[vocab_size, hidden_size])?;
        let head = match head {
            Head::Lm if config.tie_word_embeddings => token_embeddings.clone(),
            Head::Lm => weights.get("lm_head.weight", &[vocab_size, hidden_size])?,
            Head::Score if weights.has("score.weight") => {
                weights.get("score.weight", &[1, hidden_size])?
            }
            Head::Score => Tensor::zeros((1, hidden_size), dtype, device)?,
        };
        Ok(Self {
            norm: norm_weight(&config, &weights, "model.norm", hidden_size)?,
            token_embeddings,
            layers,
            head,
            device: device.clone(),
            config,
        })
    }

    /// Whether the head is all zeros, as [`Head::Score`] loads it for a base model without a reward head.
    pub fn head_is_zero(&self) -> bool {
        let sum = self.head.abs().and_then(|head| head.sum_all());
        let sum = sum.and_then(|sum| sum.to_dtype(DType::F32)?.to_scalar::<f32>());
        sum.is_ok_and(|sum| sum == 0.0)
    }

    /// The token embeddings, input of the first layer: T ids to shape (T, H).
    ///
    /// # Errors
    /// When an id is not below V.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let x = self
            .token_embeddings
            .index_select(&Tensor::new(ids, &self.device)?, 0)?;
        if !self.config.family.is_gemma() {
            return Ok(x);
        }
        // transformers rounds the factor to the model's dtype.
        let factor = Tensor::new((self.config.hidden_size as f32).sqrt(), &self.device)?;
        x.broadcast_mul(&factor.to_dtype(x.dtype())?)
    }
}

impl<P: Projection> Decoder<P> {
    /// Forward pass of packed sequences up to the last norm: T ids to hidden states, shape (T, H).
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward(&self, ids: &[u32], packed: &PackedSequences) -> candle_core::Result<Tensor> {
        let mut x = self.embed(ids)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.config, packed, &mut NoTape)?;
        }
        rms_norm(&x, &self.norm, self.config.rms_norm_eps)
    }

    /// Logits of hidden states after the last norm: shape (T, H) to (T, V), in f32, with Gemma-2's soft cap.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let logits = linear(hidden, &self.head)?.to_dtype(DType::F32)?;
        match self.config.final_logit_softcap {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
    }
}

/// The weight of an RMS norm over `size` values. Gemma stores `w - 1`; 1 is added in f32.
fn norm_weight(
    config: &DecoderConfig,
    weights: &Weights,
    name: &str,
    size: usize,
) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.weight"), &[size])?;
    if config.family.is_gemma() {
        return Ok((weight.to_dtype(DType::F32)? + 1.0)?);
    }
    Ok(weight)
}
