//! Decoder layer: attention and MLP with their norms and residual additions; the one forward pass of
//! generation, reward models and training.

use candle_core::Tensor;

use super::attention::{AttentionConfig, attention};
use super::config::{DecoderConfig, Family};
use super::packed::PackedSequences;
use super::tape::{LayerTensor, Tape};
use super::{Projection, norm_weight};
use crate::Result;
use crate::ops::norm::rms_norm;
use crate::ops::rotary::RotaryEmbedding;
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

/// One decoder layer. Norm weights have shape (H); Gemma-2's are in f32.
#[derive(Debug)]
pub struct DecoderLayer<P> {
    /// RMS norm before attention (`input_layernorm`).
    pub input_norm: Tensor,
    /// RMS norm of attention's output (`post_attention_layernorm`); Gemma-2 only.
    pub post_attention_norm: Option<Tensor>,
    /// RMS norm before the MLP: Llama's `post_attention_layernorm`, Gemma-2's `pre_feedforward_layernorm`.
    pub pre_mlp_norm: Tensor,
    /// RMS norm of the MLP's output (`post_feedforward_layernorm`); Gemma-2 only.
    pub post_mlp_norm: Option<Tensor>,
    /// The linear projections, in the order of [`PROJECTIONS`].
    pub projections: [P; 7],
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
        let mut linear = |which: usize, out: usize, into: usize| {
            let name = format!("{prefix}.{}", PROJECTIONS[which]);
            project(&name, weights.get(&format!("{name}.weight"), &[out, into])?)
        };
        let projections = [
            linear(0, queries, hidden)?,
            linear(1, keys, hidden)?,
            linear(2, keys, hidden)?,
            linear(3, hidden, queries)?,
            linear(4, intermediate, hidden)?,
            linear(5, intermediate, hidden)?,
            linear(6, hidden, intermediate)?,
        ];
        let norm = |name: &str| norm_weight(config, weights, &format!("{prefix}.{name}"));
        let gemma_norm = |name: &str| {
            (config.family == Family::Gemma2)
                .then(|| norm(name))
                .transpose()
        };
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            post_attention_norm: gemma_norm("post_attention_layernorm")?,
            pre_mlp_norm: norm(match config.family {
                Family::Llama => "post_attention_layernorm",
                Family::Gemma2 => "pre_feedforward_layernorm",
            })?,
            post_mlp_norm: gemma_norm("post_feedforward_layernorm")?,
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
        rotary: &RotaryEmbedding,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
        tape: &mut impl Tape,
    ) -> candle_core::Result<Tensor> {
        let [q, k, v, o, gate, up, down] = &self.projections;
        let tokens = x.dim(0)?;
        let by_head = |x: Tensor, heads: usize| x.reshape((tokens, heads, config.head_dim));
        let eps = config.rms_norm_eps;

        let normed = rms_norm(x, &self.input_norm, eps)?;
        let q = rotary.forward(&by_head(q.forward(&normed)?, config.num_attention_heads)?)?;
        let k = rotary.forward(&by_head(k.forward(&normed)?, config.num_key_value_heads)?)?;
        let v = by_head(v.forward(&normed)?, config.num_key_value_heads)?;
        tape.record(LayerTensor::Query, &q);
        tape.record(LayerTensor::Key, &k);
        tape.record(LayerTensor::Value, &v);
        let attn_out = attend(&q, &k, &v)?;
        tape.record(LayerTensor::AttnOut, &attn_out);
        let mut branch = o.forward(&attn_out)?;
        if let Some(weight) = &self.post_attention_norm {
            tape.record(LayerTensor::AttnProj, &branch);
            branch = rms_norm(&branch, weight, eps)?;
        }
        let x = (x + branch)?;
        tape.record(LayerTensor::Residual, &x);

        let normed = rms_norm(&x, &self.pre_mlp_norm, eps)?;
        // The gate is freed here unless it is recorded: an MLP's tensors are the largest of a layer.
        let activated = {
            let gate = gate.forward(&normed)?;
            tape.record(LayerTensor::Gate, &gate);
            config.family.activation().forward(&gate)?
        };
        let up = up.forward(&normed)?;
        tape.record(LayerTensor::Up, &up);
        let mut branch = down.forward(&(activated * up)?)?;
        if let Some(weight) = &self.post_mlp_norm {
            tape.record(LayerTensor::MlpOut, &branch);
            branch = rms_norm(&branch, weight, eps)?;
        }
        x + branch
    }
}
