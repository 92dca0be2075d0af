//! Backward pass of a decoder layer, written by hand from the activations that its forward pass records.
//!
//! candle's autograd is not used, because it would store every intermediate tensor and compute gradients of
//! frozen weights. Here a layer stores only what its own backward pass needs or, with gradient checkpointing
//! (Chen et al. 2016), only its input, from which the forward pass is run again.

pub mod activation;
pub mod attention;
pub mod head;
pub mod norm;

use candle_core::{Result, Tensor};
use polyphony_model::decoder::config::DecoderConfig;
use polyphony_model::decoder::packed::PackedSequences;
use polyphony_model::decoder::{DecoderLayer, LayerTensor, NoTape, Tape};
use polyphony_model::ops::norm::rms_norm;

use super::gradients::Gradients;
use super::lora::LoraLinear;

/// The activations that a layer's forward pass stores for its backward pass.
#[derive(Debug)]
pub struct LayerActivations {
    /// The layer's input, shape (T, H).
    input: Tensor,
    /// The recorded activations; `None` with gradient checkpointing.
    recorded: Option<Recorded>,
}

/// Whether a backward pass computes the gradient of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGradient {
    /// Yes: a layer below has parameters to train.
    Compute,
    /// No: this is the lowest layer with parameters to train.
    Skip,
}

/// A tape that stores every activation, indexed by its [`LayerTensor`].
#[derive(Debug, Default)]
struct Recorded([Option<Tensor>; 11]);

impl Tape for Recorded {
    fn record(&mut self, which: LayerTensor, x: &Tensor) {
        self.0[which as usize] = Some(x.clone());
    }
}

impl Recorded {
    /// A recorded activation.
    fn get(&self, which: LayerTensor) -> Result<&Tensor> {
        match &self.0[which as usize] {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("the forward pass did not record {which:?}"),
        }
    }
}

/// The layer's forward pass: its output, shape (T, H), and what its backward pass needs.
///
/// # Errors
/// When the device fails, for example out of memory.
pub fn forward(
    layer: &DecoderLayer<LoraLinear>,
    x: &Tensor,
    config: &DecoderConfig,
    packed: &PackedSequences,
    gradient_checkpointing: bool,
) -> Result<(Tensor, LayerActivations)> {
    let (out, recorded) = if gradient_checkpointing {
        (layer.forward(x, config, packed, &mut NoTape)?, None)
    } else {
        let mut tape = Recorded::default();
        let out = layer.forward(x, config, packed, &mut tape)?;
        (out, Some(tape))
    };
    let activations = LayerActivations {
        input: x.clone(),
        recorded,
    };
    Ok((out, activations))
}

/// The layer's backward pass for the gradient `dy` of its output, shape (T, H): adds the gradients of the
/// adapters; returns the gradient of its input, shape (T, H), if requested.
///
/// # Errors
/// When the device fails, for example out of memory.
pub fn backward(
    layer: &DecoderLayer<LoraLinear>,
    activations: LayerActivations,
    dy: &Tensor,
    config: &DecoderConfig,
    packed: &PackedSequences,
    gradients: &mut Gradients,
    input_gradient: InputGradient,
) -> Result<Option<Tensor>> {
    let [q, k, v, o, gate, up, down] = &layer.projections;
    let eps = config.rms_norm_eps;
    let x = activations.input;
    let recorded = if let Some(recorded) = activations.recorded {
        recorded
    } else {
        let mut tape = Recorded::default();
        layer.forward(&x, config, packed, &mut tape)?;
        tape
    };
    // The gradient of a branch's last projection, through the norm after it in Gemma.
    let branch = |dy: &Tensor, before_norm: LayerTensor, weight: Option<&Tensor>| match weight {
        Some(weight) => norm::backward(recorded.get(before_norm)?, weight, eps, dy),
        None => Ok(dy.clone()),
    };

    // The MLP.
    let residual = recorded.get(LayerTensor::Residual)?;
    let (gate_out, up_out) = (
        recorded.get(LayerTensor::Gate)?,
        recorded.get(LayerTensor::Up)?,
    );
    let d_mlp_out = branch(dy, LayerTensor::MlpOut, layer.post_mlp_norm.as_ref())?;
    let activation = config.family.activation();
    let activated = activation.forward(gate_out)?;
    let mlp_hidden = (&activated * up_out)?;
    let d_mlp_hidden = down.backward(&mlp_hidden, &d_mlp_out, gradients)?;
    let d_up = (&d_mlp_hidden * activated)?;
    let d_gate = activation::backward(gate_out, &(d_mlp_hidden * up_out)?, activation)?;
    let normed = rms_norm(residual, &layer.pre_mlp_norm, eps)?;
    let d_normed =
        (gate.backward(&normed, &d_gate, gradients)? + up.backward(&normed, &d_up, gradients)?)?;
    let d_residual = (dy + norm::backward(residual, &layer.pre_mlp_norm, eps, &d_normed)?)?;

    // Attention.
    let attn_out = recorded.get(LayerTensor::AttnOut)?;
    let post_norm = layer.post_attention_norm.as_ref();
    let d_attn_proj = branch(&d_residual, LayerTensor::AttnProj, post_norm)?;
    let d_attn_out = o.backward(attn_out, &d_attn_proj, gradients)?;
    let [dq, dk, dv] = attention::backward(
        [
            recorded.get(LayerTensor::Query)?,
            recorded.get(LayerTensor::Key)?,
            recorded.get(LayerTensor::Value)?,
        ],
        attn_out,
        &d_attn_out,
        packed,
        &layer.attention,
    )?;
    let flat = |d: &Tensor| d.flatten(1, 2)?.contiguous();
    // Queries and keys, through RoPE and, in Qwen 3 and Gemma 3, their norms. Biases are frozen and add nothing.
    let by_head = |d: &Tensor, before_norm: LayerTensor, weight: Option<&Tensor>| {
        let d = packed.rotary.backward(&layer.rope, d)?;
        flat(&branch(&d, before_norm, weight)?)
    };
    let dq = by_head(&dq, LayerTensor::QueryProj, layer.q_norm.as_ref())?;
    let dk = by_head(&dk, LayerTensor::KeyProj, layer.k_norm.as_ref())?;
    let dv = flat(&dv)?;
    let normed = rms_norm(&x, &layer.input_norm, eps)?;
    if input_gradient == InputGradient::Skip {
        for (projection, d) in [(q, dq), (k, dk), (v, dv)] {
            projection.backward_factors(&normed, &d, gradients)?;
        }
        return Ok(None);
    }
    let dq = q.backward(&normed, &dq, gradients)?;
    let dk = k.backward(&normed, &dk, gradients)?;
    let dv = v.backward(&normed, &dv, gradients)?;
    let d_normed = ((dq + dk)? + dv)?;
    let through_norm = norm::backward(&x, &layer.input_norm, eps, &d_normed)?;
    Ok(Some((d_residual + through_norm)?))
}
