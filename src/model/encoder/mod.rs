//! How do tokens become vectors? The encoders that this project knows, and what they share.

pub mod bert;
pub mod fused;
#[cfg(test)]
mod golden;
pub mod jina_v3;
pub mod ops;
pub mod roberta;
pub mod sentence;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use self::fused::Buffers;
use self::ops::{BatchLayout, LayerNormWeights, Linear, Rotary};
use crate::files::ModelFiles;
use crate::weights::Weights;
use crate::{Error, Result};

/// A post-norm transformer encoder: what BERT, RoBERTa, XLM-RoBERTa and jina-v3 have in common.
#[derive(Debug)]
pub struct Encoder {
    /// How many values a token's vector has.
    pub width: usize,
    /// The longest text it takes, in tokens.
    pub max_tokens: usize,
    words: Tensor,
    positions: Positions,
    norm: LayerNormWeights,
    layers: Vec<Layer>,
    heads: usize,
    device: Device,
}

/// How a token's place in its text is told.
#[derive(Debug)]
enum Positions {
    /// By a learned vector a position, from 0 on.
    FromZero(Tensor),
    /// By a learned vector a position, from `pad + 1` on; `pad` itself stands at `pad`.
    AfterPad(Tensor, u32),
    /// By turning queries and keys.
    Turned(Rotary),
}

#[derive(Debug)]
struct Layer {
    qkv: Linear,
    out: Linear,
    attention_norm: LayerNormWeights,
    up: Linear,
    down: Linear,
    norm: LayerNormWeights,
}

/// What config.json says of an encoder.
#[derive(Debug, Deserialize)]
struct Config {
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
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

const fn one() -> usize {
    1
}

/// The architectures that are known, as messages list them.
const KNOWN: &str =
    "bert, roberta, xlm-roberta, xlm-roberta with rotary positions (jina-embeddings-v3)";

impl Encoder {
    /// Loads the encoder that config.json describes; `task` chooses one of jina-v3's adapters.
    ///
    /// # Errors
    /// When the architecture is unknown, or a tensor is missing or of another shape.
    pub fn load(
        files: &ModelFiles,
        task: Option<&str>,
        precision: DType,
        device: &Device,
    ) -> Result<Self> {
        let path = files.require("config.json")?;
        let raw = files.json("config.json")?.unwrap_or_default();
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
                    known: KNOWN.to_owned(),
                });
            }
        };
        let turned = positions == "rotary";
        let config: Config = serde_json::from_value(raw).map_err(|error| {
            Error::input(
                &path,
                format!("is no configuration of an encoder ({error})"),
                "fetch the model again",
            )
        })?;
        let wrong = |message: String| Error::input(&path, message, "choose a model that has it");
        if config.hidden_act != "gelu" {
            let given = &config.hidden_act;
            return Err(wrong(format!("says activation `{given}`, known is gelu")));
        }
        // No known encoder has more positions; tables are made of this number.
        let longest = 1 << 20;
        if config.intermediate_size == 0
            || config.num_hidden_layers == 0
            || config.max_position_embeddings > longest
        {
            return Err(wrong("has no layers, or impossible ones".to_owned()));
        }
        if config.hidden_size == 0
            || config.num_attention_heads == 0
            || !config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
        {
            return Err(wrong("has no whole number of values a head".to_owned()));
        }
        if turned && !(config.hidden_size / config.num_attention_heads).is_multiple_of(2) {
            let message = "has heads of an odd size, which do not turn in pairs";
            return Err(wrong(message.to_owned()));
        }
        let base = config.rest.get("rotary_emb_base");
        if base.is_some_and(|base| base.as_f64().is_none_or(|base| base <= 1.0)) {
            return Err(wrong("has no rotary_emb_base above 1".to_owned()));
        }
        if let Some(task) = task
            && !turned
        {
            return Err(wrong(format!("has no adapters: there is no task `{task}`")));
        }
        let weights = Weights::open(files, device, precision)?;
        load(&Source {
            config,
            weights,
            task: task.map(str::to_owned),
            precision,
            device: device.clone(),
        })
    }

    /// How many different tokens it knows: ids are below this.
    pub fn vocabulary(&self) -> u32 {
        self.words.dims()[0] as u32
    }

    /// How many weights work on every token: those of the layers.
    pub fn parameters(&self) -> usize {
        let linears = |layer: &Layer| {
            let layers = [&layer.qkv, &layer.out, &layer.up, &layer.down];
            layers
                .map(|linear| linear.weight.elem_count())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(linears).sum()
    }

    /// The vectors of the tokens of several texts, which stand one after another: shape
    /// (tokens, width).
    ///
    /// # Errors
    /// When the device refuses, as without memory.
    pub fn forward(&self, ids: &[u32], lengths: &[usize]) -> candle_core::Result<Tensor> {
        let positions = self.positions_of(ids, lengths);
        let texts = BatchLayout {
            lengths,
            positions: &positions,
        };
        let row = |table: &Tensor, which: &[u32]| {
            table.index_select(&Tensor::new(which, &self.device)?, 0)
        };
        let mut x = row(&self.words, ids)?;
        let rotary = match &self.positions {
            Positions::FromZero(table) | Positions::AfterPad(table, _) => {
                x = (x + row(table, &positions)?)?;
                None
            }
            Positions::Turned(rotary) => Some(rotary),
        };
        x = ops::norm(&x, &self.norm)?;
        for layer in &self.layers {
            let qkv = ops::linear(&x, &layer.qkv)?;
            let mixed = ops::attention(&qkv, &texts, self.heads, rotary)?;
            let sum = (x + ops::linear(&mixed, &layer.out)?)?;
            x = ops::norm(&sum, &layer.attention_norm)?;
            let raised = ops::linear(&x, &layer.up)?.gelu_erf()?;
            let sum = (x + ops::linear(&raised, &layer.down)?)?;
            x = ops::norm(&sum, &layer.norm)?;
        }
        Ok(x)
    }

    /// [`Self::forward`] in fused loops, for weights that are f32 on the CPU.
    ///
    /// # Errors
    /// When the weights are not, or a token is none of the vocabulary.
    pub fn forward_fused<'a>(
        &self,
        ids: &[u32],
        lengths: &[usize],
        buffers: &'a mut Buffers,
    ) -> candle_core::Result<&'a [f32]> {
        fused::forward(self, ids, lengths, buffers)
    }

    /// Whether [`Self::forward_fused`] can run.
    pub fn is_fused(&self) -> bool {
        self.device.is_cpu() && self.words.dtype() == DType::F32
    }

    /// Each token's position, in whole numbers: a half-precision one is exact up to 256 only.
    fn positions_of(&self, ids: &[u32], lengths: &[usize]) -> Vec<u32> {
        let mut positions = Vec::with_capacity(ids.len());
        let mut rest = ids;
        for &length in lengths {
            let (text, after) = rest.split_at(length);
            rest = after;
            if let Positions::AfterPad(_, pad) = self.positions {
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

/// What an architecture's file loads from.
struct Source {
    config: Config,
    weights: Weights,
    task: Option<String>,
    precision: DType,
    device: Device,
}

impl Source {
    fn norm(&self, name: &str) -> Result<LayerNormWeights> {
        let width = [self.config.hidden_size];
        Ok(LayerNormWeights {
            weight: self.weights.get(&format!("{name}.weight"), &width)?,
            bias: self.weights.get(&format!("{name}.bias"), &width)?,
            eps: self.config.layer_norm_eps as f32,
        })
    }

    fn linear(&self, name: &str, out: usize, into: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.weights.get(&format!("{name}.weight"), &[out, into])?,
            bias: self.weights.get(&format!("{name}.bias"), &[out])?,
        })
    }
}

/// Every token is of type 0: its vector is added to the words' once, at load.
fn fold_token_type_embedding(words: &Tensor, types: &Tensor) -> Result<Tensor> {
    Ok(words.broadcast_add(&types.narrow(0, 0, 1)?)?)
}
