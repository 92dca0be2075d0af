//! Decoder layer: attention and MLP with their norms and residual additions; the one forward pass of
//! generation, reward models and training.

use candle_core::Tensor;

use super::attention::{AttentionConfig, attention};
use super::config::DecoderConfig;
use super::packed::PackedSequences;
use super::rope::{RopeConfig, RotaryTables};
use super::tape::{LayerTensor, Tape};
use super::{Projection, norm_weight};
use crate::Result;
use crate::ops::norm::rms_norm;
use crate::weights::Weights;

/// The names of a layer's linear projections, as in PEFT and vLLM.
pub const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// The indices of [`PROJECTIONS`].
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const O: usize = 3;
const GATE: usize = 4;
const UP: usize = 5;
const DOWN: usize = 6;

/// One decoder layer. Norm weights have shape (H), those of queries and keys (D); Gemma's are in f32.
#[derive(Debug)]
pub struct DecoderLayer<P> {
    /// RMS norm before attention (`input_layernorm`).
    pub input_norm: Tensor,
    /// RMS norm of attention's output (`post_attention_layernorm`); Gemma only.
    pub post_attention_norm: Option<Tensor>,
    /// RMS norm before the MLP: Llama's `post_attention_layernorm`, Gemma's `pre_feedforward_layernorm`.
    pub pre_mlp_norm: Tensor,
    /// RMS norm of the MLP's output (`post_feedforward_layernorm`); Gemma only.
    pub post_mlp_norm: Option<Tensor>,
    /// The linear projections, in the order of [`PROJECTIONS`].
    pub projections: [P; 7],
    /// The biases of the projections, shape (out), of those that have one (Qwen 2: queries, keys, values). They
    /// are frozen.
    pub biases: [Option<Tensor>; 7],
    /// RMS norm of each query head before RoPE (`q_norm`); Qwen 3 and Gemma 3 only.
    pub q_norm: Option<Tensor>,
    /// RMS norm of each key head before RoPE (`k_norm`); Qwen 3 and Gemma 3 only.
    pub k_norm: Option<Tensor>,
    /// The layer's rotary position embeddings.
    pub rope: RopeConfig,
    /// Scale, soft cap and sliding window of attention.
    pub attention: AttentionConfig,
}

impl<P> DecoderLayer<P> {
    /// Loads the layer with index `number`, from 0.
    pub(super) fn load(
        config: &DecoderConfig,
        weights: &Weights,
        number: usize,
        project: &mut impl FnMut(&str, Tensor) -> Result<P>,
    ) -> Result<Self> {
        let prefix = format!("model.layers.{number}");
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let shapes = [
            (queries, hidden),
            (keys, hidden),
            (keys, hidden),
            (hidden, queries),
            (intermediate, hidden),
            (intermediate, hidden),
            (hidden, intermediate),
        ];
        let mut biases = [const { None }; 7];
        let mut linear = |which: usize| {
            let name = format!("{prefix}.{}", PROJECTIONS[which]);
            let (out, into) = shapes[which];
            if config.projection_biases[which] {
                biases[which] = Some(weights.get(&format!("{name}.bias"), &[out])?);
            }
            project(&name, weights.get(&format!("{name}.weight"), &[out, into])?)
        };
        let projections = [
            linear(Q)?,
            linear(K)?,
            linear(V)?,
            linear(O)?,
            linear(GATE)?,
            linear(UP)?,
            linear(DOWN)?,
        ];
        let norm = |name: &str, size: usize| {
            norm_weight(config, weights, &format!("{prefix}.{name}"), size)
        };
        let (is_gemma, has_qk_norm) = (config.family.is_gemma(), config.family.has_qk_norm());
        let gemma_norm = |name: &str| is_gemma.then(|| norm(name, hidden)).transpose();
        let head_norm = |name: &str| has_qk_norm.then(|| norm(name, config.head_dim)).transpose();
        Ok(Self {
            input_norm: norm("input_layernorm", hidden)?,
            post_attention_norm: gemma_norm("post_attention_layernorm")?,
            pre_mlp_norm: if is_gemma {
                norm("pre_feedforward_layernorm", hidden)?
            } else {
                norm("post_attention_layernorm", hidden)?
            },
            post_mlp_norm: gemma_norm("post_feedforward_layernorm")?,
            q_norm: head_norm("self_attn.q_norm")?,
            k_norm: head_norm("self_attn.k_norm")?,
            biases,
            rope: config.ropes[number],
            projections,
            attention: AttentionConfig {
                scale: config.attention_scale,
                softcap: config.attn_logit_softcap,
                sliding_window: config.sliding_windows[number],
            },
        })
    }
}

impl<P: Projection> DecoderLayer<P> {
    /// The output of the projection with this index, with its bias if it has one: shape (T, in) to (T, out).
    fn project(&self, which: usize, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.projections[which].forward(x)?;
        match &self.biases[which] {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// The layer's forward pass over packed sequences: shape (T, H) to (T, H).
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward(
        &self,
        x: &Tensor,
        config: &DecoderConfig,
        packed: &PackedSequences,
        tape: &mut impl Tape,
    ) -> candle_core::Result<Tensor> {
        let attend =
            |q: &Tensor, k: &Tensor, v: &Tensor| attention(q, k, v, packed, &self.attention);
        self.forward_with(x, config, &packed.rotary, attend, tape)
    }

    /// [`Self::forward`] with the caller's attention function, as decoding with a KV cache needs: `attend`
    /// gets queries of shape (T, heads, D) and keys and values of (T, `kv_heads`, D), after RoPE, and
    /// returns (T, heads * D).
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward_with(
        &self,
        x: &Tensor,
        config: &DecoderConfig,
        rotary: &RotaryTables,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
        tape: &mut impl Tape,
    ) -> candle_core::Result<Tensor> {
        let tokens = x.dim(0)?;
        let by_head = |x: Tensor, heads: usize| x.reshape((tokens, heads, config.head_dim));
        let eps = config.rms_norm_eps;

        let normed = rms_norm(x, &self.input_norm, eps)?;
        let mut q = by_head(self.project(Q, &normed)?, config.num_attention_heads)?;
        let mut k = by_head(self.project(K, &normed)?, config.num_key_value_heads)?;
        let v = by_head(self.project(V, &normed)?, config.num_key_value_heads)?;
        if let Some(weight) = &self.q_norm {
            tape.record(LayerTensor::QueryProj, &q);
            q = rms_norm(&q, weight, eps)?;
        }
        if let Some(weight) = &self.k_norm {
            tape.record(LayerTensor::KeyProj, &k);
            k = rms_norm(&k, weight, eps)?;
        }
        let q = rotary.forward(&self.rope, &q)?;
        let k = rotary.forward(&self.rope, &k)?;
        tape.record(LayerTensor::Query, &q);
        tape.record(LayerTensor::Key, &k);
        tape.record(LayerTensor::Value, &v);
        let attn_out = attend(&q, &k, &v)?;
        tape.record(LayerTensor::AttnOut, &attn_out);
        let mut branch = self.project(O, &attn_out)?;
        if let Some(weight) = &self.post_attention_norm {
            tape.record(LayerTensor::AttnProj, &branch);
            branch = rms_norm(&branch, weight, eps)?;
        }
        let x = (x + branch)?;
        tape.record(LayerTensor::Residual, &x);

        let normed = rms_norm(&x, &self.pre_mlp_norm, eps)?;
        // The gate is freed here unless it is recorded: an MLP's tensors are the largest of a layer.
        let activated = {
            let gate = self.project(GATE, &normed)?;
            tape.record(LayerTensor::Gate, &gate);
            config.family.activation().forward(&gate)?
        };
        let up = self.project(UP, &normed)?;
        tape.record(LayerTensor::Up, &up);
        let mut branch = self.project(DOWN, &(activated * up)?)?;
        if let Some(weight) = &self.post_mlp_norm {
            tape.record(LayerTensor::MlpOut, &branch);
            branch = rms_norm(&branch, weight, eps)?;
        }
        x + branch
    }
}
