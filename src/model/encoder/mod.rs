//! Encoder transformers: BERT, RoBERTa, XLM-RoBERTa and jina-embeddings-v3, and sentence embeddings from
//! them.
//!
//! Shapes: T tokens of all texts of a batch, packed without padding; H hidden size.

mod attention;
mod bert;
pub mod fused;
#[cfg(test)]
mod golden;
mod jina_v3;
mod roberta;
pub mod sentence;
pub mod text_tokenizer;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use self::attention::{BatchLayout, attention};
use self::fused::Buffers;
use crate::files::ModelFiles;
use crate::kernel::rotary::RotaryTable;
use crate::ops::linear::Linear;
use crate::ops::norm::LayerNorm;
use crate::ops::rotary::RotaryEmbedding;
use crate::weights::Weights;
use crate::{Error, Result};

/// A post-norm transformer encoder: the layers that BERT, RoBERTa, XLM-RoBERTa and jina-v3 share.
#[derive(Debug)]
pub struct Encoder {
    /// Hidden size (H): values per token.
    pub hidden_size: usize,
    /// The maximum length of a text, in tokens, special tokens included.
    pub max_seq_length: usize,
    /// Token embedding table, shape (V, H), with the embedding of token type 0 added.
    token_embeddings: Tensor,
    positions: Positions,
    embedding_norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    heads: usize,
    device: Device,
}

/// Position embeddings.
#[derive(Debug)]
enum Positions {
    /// A trained table, shape (positions, H), from position 0 (BERT).
    Absolute(Tensor),
    /// A trained table, shape (positions, H), and the id of the padding token: the first position is that id
    /// plus one; padding tokens have the id itself as their position (RoBERTa).
    AbsoluteWithOffset(Tensor, u32),
    /// Rotary position embeddings: the tables of the tensor path and of the fused CPU path.
    Rotary(RotaryEmbedding, RotaryTable),
}

/// A post-norm encoder layer: attention, then MLP, each followed by a residual addition and a layer norm.
#[derive(Debug)]
struct EncoderLayer {
    /// Query, key and value projections, concatenated to shape (3H, H).
    qkv: Linear,
    out_proj: Linear,
    attention_norm: LayerNorm,
    /// The MLP's first layer, shape (I, H).
    up: Linear,
    /// The MLP's second layer, shape (H, I).
    down: Linear,
    mlp_norm: LayerNorm,
}

/// config.json of an encoder.
#[derive(Debug, Deserialize)]
struct EncoderConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "one")]
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    pad_token_id: Option<u32>,
    /// The other fields; jina-v3 reads its RoPE and LoRA settings from them.
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// The default of `type_vocab_size`.
const fn one() -> usize {
    1
}

/// The supported architectures, for error messages.
const SUPPORTED: &str =
    "bert, roberta, xlm-roberta, xlm-roberta with rotary positions (jina-embeddings-v3)";

impl Encoder {
    /// Loads the encoder that config.json describes; `task` chooses one of jina-v3's LoRA adapters.
    ///
    /// # Errors
    /// When the architecture is not supported, or a tensor is missing or of another shape.
    pub fn load(
        files: &ModelFiles,
        task: Option<&str>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let path = files.require("config.json")?;
        let raw = files.read_json("config.json")?.unwrap_or_default();
        let family = raw["model_type"].as_str().unwrap_or_default();
        let positions = raw["position_embedding_type"]
            .as_str()
            .unwrap_or("absolute");
        let load = match (family, positions) {
            ("bert", "absolute") => bert::load,
            ("roberta" | "xlm-roberta", "absolute") => roberta::load,
            ("xlm-roberta", "rotary") => jina_v3::load,
            _ => {
                return Err(Error::Unknown {
                    what: "architecture",
                    given: format!("{family} ({positions} positions) of {}", path.display()),
                    known: SUPPORTED.to_owned(),
                });
            }
        };
        let is_rotary = positions == "rotary";
        let config: EncoderConfig = serde_json::from_value(raw).map_err(|error| {
            Error::input(
                &path,
                format!("is not the config of an encoder ({error})"),
                "fetch the model again",
            )
        })?;
        let wrong = |message: String| Error::input(&path, message, "choose another model");
        if config.hidden_act != "gelu" {
            let hidden_act = &config.hidden_act;
            return Err(wrong(format!("hidden_act must be gelu (got {hidden_act})")));
        }
        // Tables of this size are allocated, so absurd values are rejected; no encoder has more positions.
        let max_positions = 1 << 20;
        let sizes = [
            ("intermediate_size", config.intermediate_size, usize::MAX),
            ("num_hidden_layers", config.num_hidden_layers, usize::MAX),
            (
                "max_position_embeddings",
                config.max_position_embeddings,
                max_positions,
            ),
        ];
        for (name, size, max) in sizes {
            if size == 0 || size > max {
                return Err(wrong(format!(
                    "{name} must be from 1 to {max} (got {size})"
                )));
            }
        }
        if config.hidden_size == 0
            || config.num_attention_heads == 0
            || !config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
        {
            return Err(wrong(format!(
                "hidden_size must be a multiple of num_attention_heads (got {} and {})",
                config.hidden_size, config.num_attention_heads
            )));
        }
        let head_dim = config.hidden_size / config.num_attention_heads;
        if is_rotary && !head_dim.is_multiple_of(2) {
            let message = format!("RoPE needs an even head size (got {head_dim})");
            return Err(wrong(message));
        }
        let base = config.rest.get("rotary_emb_base");
        if base.is_some_and(|base| base.as_f64().is_none_or(|base| base <= 1.0)) {
            return Err(wrong("rotary_emb_base must be > 1".to_owned()));
        }
        if let Some(task) = task
            && !is_rotary
        {
            return Err(wrong(format!("has no LoRA adapters, so no task `{task}`")));
        }
        let weights = Weights::open(files, device, dtype)?;
        load(&Checkpoint {
            config,
            weights,
            task: task.map(str::to_owned),
            dtype,
            device: device.clone(),
        })
    }

    /// Vocabulary size (V): token ids are below this.
    pub fn vocab_size(&self) -> u32 {
        self.token_embeddings.dims()[0] as u32
    }

    /// Number of parameters of the layers' projections, which every token is multiplied with. It estimates
    /// the cost per token.
    pub fn parameters(&self) -> usize {
        let of_layer = |layer: &EncoderLayer| {
            let linears = [&layer.qkv, &layer.out_proj, &layer.up, &layer.down];
            linears
                .map(|linear| linear.weight.elem_count())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(of_layer).sum()
    }

    /// The last hidden states of packed texts: T ids to shape (T, H). `lengths` has the number of
    /// tokens of each text.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward(&self, ids: &[u32], lengths: &[usize]) -> candle_core::Result<Tensor> {
        let positions = self.position_ids(ids, lengths);
        let layout = BatchLayout::new(lengths, &self.device)?;
        let positions = Tensor::new(positions, &self.device)?;
        let ids = Tensor::new(ids, &self.device)?;
        let mut x = self.token_embeddings.index_select(&ids, 0)?;
        let rotary = match &self.positions {
            Positions::Absolute(table) | Positions::AbsoluteWithOffset(table, _) => {
                x = (x + table.index_select(&positions, 0)?)?;
                None
            }
            Positions::Rotary(table, _) => Some(table.index_select(&positions)?),
        };
        x = self.embedding_norm.forward(&x)?;
        for layer in &self.layers {
            let qkv = layer.qkv.forward(&x)?;
            let attn_out = attention(&qkv, &layout, self.heads, rotary.as_ref())?;
            let sum = (x + layer.out_proj.forward(&attn_out)?)?;
            x = layer.attention_norm.forward(&sum)?;
            let mlp_hidden = layer.up.forward(&x)?.gelu_erf()?;
            let sum = (x + layer.down.forward(&mlp_hidden)?)?;
            x = layer.mlp_norm.forward(&sum)?;
        }
        Ok(x)
    }

    /// [`Self::forward`] with the fused CPU kernels, for weights in f32 on the CPU; returns T rows of H values.
    ///
    /// # Errors
    /// When the weights are not f32 on the CPU, or an id is not below V.
    pub fn forward_fused<'a>(
        &self,
        ids: &[u32],
        lengths: &[usize],
        buffers: &'a mut Buffers,
    ) -> candle_core::Result<&'a [f32]> {
        fused::forward(self, ids, lengths, buffers)
    }

    /// Whether [`Self::forward_fused`] can run: the weights are f32 on the CPU.
    pub fn has_fused_path(&self) -> bool {
        self.device.is_cpu() && self.token_embeddings.dtype() == DType::F32
    }

    /// The position of each token, as integers: bf16 represents them exactly only up to 256.
    fn position_ids(&self, ids: &[u32], lengths: &[usize]) -> Vec<u32> {
        let mut positions = Vec::with_capacity(ids.len());
        let mut rest = ids;
        for &length in lengths {
            let (text, after) = rest.split_at(length);
            rest = after;
            if let Positions::AbsoluteWithOffset(_, pad) = self.positions {
                let mut next = pad;
                positions.extend(text.iter().map(|&id| {
                    if id == pad {
                        pad
                    } else {
                        next += 1;
                        next
                    }
                }));
            } else {
                positions.extend(0..length as u32);
            }
        }
        positions
    }
}

/// A checkpoint: config.json and weights that an architecture is loaded from.
struct Checkpoint {
    config: EncoderConfig,
    weights: Weights,
    /// The task whose LoRA adapter is merged; jina-v3 only.
    task: Option<String>,
    dtype: DType,
    device: Device,
}

impl Checkpoint {
    /// The layer norm with this name prefix, parameters of shape (H).
    fn layer_norm(&self, name: &str) -> Result<LayerNorm> {
        let shape = [self.config.hidden_size];
        Ok(LayerNorm {
            weight: self.weights.get(&format!("{name}.weight"), &shape)?,
            bias: self.weights.get(&format!("{name}.bias"), &shape)?,
            eps: self.config.layer_norm_eps as f32,
        })
    }

    /// The linear layer with this name prefix, weight of shape (out, into).
    fn linear(&self, name: &str, out: usize, into: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.weights.get(&format!("{name}.weight"), &[out, into])?,
            bias: self.weights.get(&format!("{name}.bias"), &[out])?,
        })
    }
}

/// Adds the embedding of token type 0, the type of every token here, to the token embeddings at load time,
/// so that the forward pass has one lookup less.
fn fold_token_type_embedding(tokens: &Tensor, types: &Tensor) -> Result<Tensor> {
    Ok(tokens.broadcast_add(&types.narrow(0, 0, 1)?)?)
}
