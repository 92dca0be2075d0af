//! How do tokens become the next token's probabilities? Llama, Mistral and Gemma-2, forward only.

pub mod config;
#[cfg(test)]
mod golden;
pub mod kv_cache;
pub mod ops;

use candle_core::{DType, Device, Tensor};

use self::config::{Config, Family};
use self::ops::{Attention, PackedSequences, RotaryEmbedding};
use crate::Result;
use crate::files::ModelFiles;
use crate::weights::Weights;

/// A product with a weight, as (tokens, in) to (tokens, out): a frozen one, or one that learns.
pub trait Projection {
    /// The product.
    ///
    /// # Errors
    /// When the device fails.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor>;
}

/// A frozen weight of shape (out, in).
impl Projection for Tensor {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        ops::linear(x, self)
    }
}

/// A decoder over projections of the kind `P`.
#[derive(Debug)]
pub struct Decoder<P> {
    /// Its shape.
    pub config: Config,
    /// The words' table, shape (vocabulary, width).
    pub words: Tensor,
    /// The layers.
    pub layers: Vec<Layer<P>>,
    /// The last norm, shape (width).
    pub norm: Tensor,
    /// Shape (vocabulary, width), or (1, width) where the head gives a reward.
    pub head: Tensor,
    /// Where it runs.
    pub device: Device,
}

/// One layer.
#[derive(Debug)]
pub struct Layer<P> {
    /// Before attention, shape (width); norms' weights are f32 in Gemma-2.
    pub input_norm: Tensor,
    /// After attention; Gemma-2 only.
    pub attention_norm: Option<Tensor>,
    /// Before the feed-forward step.
    pub middle_norm: Tensor,
    /// After the feed-forward step; Gemma-2 only.
    pub output_norm: Option<Tensor>,
    /// The products, in the order of [`PROJECTIONS`].
    pub projections: [P; 7],
    /// How it attends.
    pub attention: Attention,
}

/// The products of a layer, as PEFT and vLLM name them.
pub const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// What a decoder's head gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A logit a token of the vocabulary.
    Words,
    /// One number, from `score.weight`; where the model has none (a base model), zeros.
    Score,
}

impl<P> Decoder<P> {
    /// Loads a decoder; `project` makes a projection of a layer's weight, told by its name
    /// `model.layers.N.self_attn.q_proj`.
    ///
    /// # Errors
    /// When a file or tensor is missing or is not what it should be.
    pub fn load(
        files: &ModelFiles,
        head: Head,
        precision: DType,
        device: &Device,
        mut project: impl FnMut(&str, Tensor) -> Result<P>,
    ) -> Result<Self> {
        let config = Config::read(files)?;
        let weights = Weights::open(files, device, precision)?;
        let layers = (0..config.windows.len())
            .map(|number| layer(&config, &weights, number, &mut project))
            .collect::<Result<_>>()?;
        let words = weights.get(
            "model.embed_tokens.weight",
            &[config.vocabulary, config.width],
        )?;
        let head = match head {
            Head::Words if config.tied => words.clone(),
            Head::Words => weights.get("lm_head.weight", &[config.vocabulary, config.width])?,
            Head::Score if weights.has("score.weight") => {
                weights.get("score.weight", &[1, config.width])?
            }
            Head::Score => Tensor::zeros((1, config.width), precision, device)?,
        };
        Ok(Self {
            norm: norm(&config, &weights, "model.norm")?,
            words,
            layers,
            head,
            device: device.clone(),
            config,
        })
    }

    /// Whether the head is all zeros: that of a base model that gives no reward.
    pub fn head_is_zero(&self) -> bool {
        let sum = self.head.abs().and_then(|head| head.sum_all());
        let sum = sum.and_then(|sum| sum.to_dtype(DType::F32)?.to_scalar::<f32>());
        sum.is_ok_and(|sum| sum == 0.0)
    }

    /// What goes into the first layer, shape (tokens, width).
    ///
    /// # Errors
    /// When a token is none of the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let x = self
            .words
            .index_select(&Tensor::new(ids, &self.device)?, 0)?;
        match self.config.family {
            Family::Llama => Ok(x),
            // transformers rounds the factor to the model's precision.
            Family::Gemma2 => {
                let factor = Tensor::new((self.config.width as f32).sqrt(), &self.device)?;
                x.broadcast_mul(&factor.to_dtype(x.dtype())?)
            }
        }
    }
}

impl<P: Projection> Decoder<P> {
    /// The vectors behind the last norm of several texts, which stand one after another: shape
    /// (tokens, width).
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn forward(&self, ids: &[u32], segments: &PackedSequences) -> candle_core::Result<Tensor> {
        let mut x = self.embed(ids)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.config, segments)?;
        }
        ops::rms_norm(&x, &self.norm, self.config.eps)
    }

    /// Logits of rows behind the last norm: shape (rows, vocabulary), in f32.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let logits = ops::linear(rows, &self.head)?.to_dtype(DType::F32)?;
        match self.config.logit_cap {
            Some(cap) => (logits / cap)?.tanh()? * cap,
            None => Ok(logits),
        }
    }
}

impl<P: Projection> Layer<P> {
    /// What comes out of the layer for what goes in, shape (tokens, width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(
        &self,
        x: &Tensor,
        config: &Config,
        segments: &PackedSequences,
    ) -> candle_core::Result<Tensor> {
        let attend =
            |q: &Tensor, k: &Tensor, v: &Tensor| ops::attention(q, k, v, segments, &self.attention);
        self.forward_with(x, config, &segments.angles, attend)
    }

    /// As [`Self::forward`], with attention by the caller: it gets queries of shape (tokens, heads,
    /// head), keys and values of (tokens, `kv_heads`, head), turned by their positions' angles, and
    /// gives (tokens, heads * head).
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward_with(
        &self,
        x: &Tensor,
        config: &Config,
        angles: &RotaryEmbedding,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let [q, k, v, o, gate, up, down] = &self.projections;
        let after = |x: Tensor, norm: &Option<Tensor>| match norm {
            Some(weight) => ops::rms_norm(&x, weight, config.eps),
            None => Ok(x),
        };
        let tokens = x.dim(0)?;
        let normed = ops::rms_norm(x, &self.input_norm, config.eps)?;
        let heads = |x: Tensor, count: usize| x.reshape((tokens, count, config.head));
        let q = heads(q.forward(&normed)?, config.heads)?;
        let k = heads(k.forward(&normed)?, config.kv_heads)?;
        let v = heads(v.forward(&normed)?, config.kv_heads)?;
        let (q, k) = (ops::rope(&q, angles, false)?, ops::rope(&k, angles, false)?);
        let mixed = attend(&q, &k, &v)?;
        let x = (x + after(o.forward(&mixed)?, &self.attention_norm)?)?;
        let normed = ops::rms_norm(&x, &self.middle_norm, config.eps)?;
        let gate = ops::activate(&gate.forward(&normed)?, config.family)?;
        let raised = (gate * up.forward(&normed)?)?;
        x + after(down.forward(&raised)?, &self.output_norm)?
    }
}

fn layer<P>(
    config: &Config,
    weights: &Weights,
    number: usize,
    project: &mut impl FnMut(&str, Tensor) -> Result<P>,
) -> Result<Layer<P>> {
    let prefix = format!("model.layers.{number}");
    let (queries, keys) = (config.heads * config.head, config.kv_heads * config.head);
    let (width, inner) = (config.width, config.inner);
    let mut linear = |which: usize, out: usize, into: usize| {
        let name = format!("{prefix}.{}", PROJECTIONS[which]);
        project(&name, weights.get(&format!("{name}.weight"), &[out, into])?)
    };
    let projections = [
        linear(0, queries, width)?,
        linear(1, keys, width)?,
        linear(2, keys, width)?,
        linear(3, width, queries)?,
        linear(4, inner, width)?,
        linear(5, inner, width)?,
        linear(6, width, inner)?,
    ];
    let norm = |name: &str| norm(config, weights, &format!("{prefix}.{name}"));
    let after = |name: &str| {
        (config.family == Family::Gemma2)
            .then(|| norm(name))
            .transpose()
    };
    Ok(Layer {
        input_norm: norm("input_layernorm")?,
        attention_norm: after("post_attention_layernorm")?,
        middle_norm: norm(match config.family {
            Family::Llama => "post_attention_layernorm",
            Family::Gemma2 => "pre_feedforward_layernorm",
        })?,
        output_norm: after("post_feedforward_layernorm")?,
        projections,
        attention: Attention {
            scale: config.scale,
            cap: config.score_cap,
            window: config.windows[number],
        },
    })
}

/// A norm's weight; Gemma-2's is kept as its distance from 1, and added to it in f32.
fn norm(config: &Config, weights: &Weights, name: &str) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.weight"), &[config.width])?;
    Ok(match config.family {
        Family::Llama => weight,
        Family::Gemma2 => (weight.to_dtype(DType::F32)? + 1.0)?,
    })
}
