//! How do gradients flow back through a layer? By hand, from what the forward pass kept.
//!
//! No tape: candle's would hold every activation and give frozen weights full gradients. Here each
//! layer keeps what its own backward needs, or only its input, from which the rest is computed anew.

pub mod activation;
pub mod attention;
pub mod head;
pub mod norm;

use candle_core::{Result, Tensor};
use polyphony_model::decoder::config::Config;
use polyphony_model::decoder::ops::{self, PackedSequences};
use polyphony_model::decoder::{Layer, Projection};

use crate::lora::{Gradients, LoraLinear};

/// What a layer's backward needs of its forward.
#[derive(Debug)]
pub struct LayerActivations {
    /// What went in, shape (tokens, width).
    input: Tensor,
    /// The rest; none where it is computed anew.
    inner: Option<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Turned queries and keys, and values, shape (tokens, heads, head).
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// What attention gave, shape (tokens, heads * head).
    mixed: Tensor,
    /// The output projection of it; kept only where a norm follows.
    projected: Option<Tensor>,
    /// The residual stream between the layer's halves.
    middle: Tensor,
    /// The two products of the feed-forward step.
    gate: Tensor,
    up: Tensor,
    /// The feed-forward step's last product; kept only where a norm follows.
    lowered: Option<Tensor>,
}

/// The layer's forward: what comes out, and what its backward needs. With `recompute` only the
/// input is kept.
///
/// # Errors
/// When the device fails, as without memory.
pub fn forward(
    layer: &Layer<LoraLinear>,
    x: &Tensor,
    config: &Config,
    segments: &PackedSequences,
    recompute: bool,
) -> Result<(Tensor, LayerActivations)> {
    let (out, inner) = forward_with_activations(layer, x, config, segments)?;
    let kept = LayerActivations {
        input: x.clone(),
        inner: (!recompute).then_some(inner),
    };
    Ok((out, kept))
}

fn forward_with_activations(
    layer: &Layer<LoraLinear>,
    x: &Tensor,
    config: &Config,
    segments: &PackedSequences,
) -> Result<(Tensor, Inner)> {
    let [q, k, v, o, gate, up, down] = &layer.projections;
    let tokens = x.dim(0)?;
    let heads = |x: Tensor, count: usize| x.reshape((tokens, count, config.head));
    let normed = ops::rms_norm(x, &layer.input_norm, config.eps)?;
    let q = ops::rope(
        &heads(q.forward(&normed)?, config.heads)?,
        &segments.angles,
        false,
    )?;
    let k = ops::rope(
        &heads(k.forward(&normed)?, config.kv_heads)?,
        &segments.angles,
        false,
    )?;
    let v = heads(v.forward(&normed)?, config.kv_heads)?;
    let mixed = ops::attention(&q, &k, &v, segments, &layer.attention)?;
    let (middle, projected) = join(x, o.forward(&mixed)?, layer.attention_norm.as_ref(), config)?;
    let normed = ops::rms_norm(&middle, &layer.middle_norm, config.eps)?;
    let (gate, up) = (gate.forward(&normed)?, up.forward(&normed)?);
    let raised = (ops::activate(&gate, config.family)? * &up)?;
    let lowered = down.forward(&raised)?;
    let (out, lowered) = join(&middle, lowered, layer.output_norm.as_ref(), config)?;
    let inner = Inner {
        q,
        k,
        v,
        mixed,
        projected,
        middle,
        gate,
        up,
        lowered,
    };
    Ok((out, inner))
}

/// The stream with a branch added, through a norm where the family has one; with the branch as it
/// was before that norm.
fn join(
    stream: &Tensor,
    branch: Tensor,
    norm: Option<&Tensor>,
    config: &Config,
) -> Result<(Tensor, Option<Tensor>)> {
    match norm {
        None => Ok(((stream + branch)?, None)),
        Some(weight) => {
            let normed = ops::rms_norm(&branch, weight, config.eps)?;
            Ok(((stream + normed)?, Some(branch)))
        }
    }
}

/// The layer's backward: adds the adapters' gradients for `dy`, shape (tokens, width), and gives
/// that of the layer's input where it is wanted.
///
/// # Errors
/// When the device fails, as without memory.
pub fn backward(
    layer: &Layer<LoraLinear>,
    kept: LayerActivations,
    dy: &Tensor,
    config: &Config,
    segments: &PackedSequences,
    gradients: &mut Gradients,
    wants_input: bool,
) -> Result<Option<Tensor>> {
    let [q, k, v, o, gate, up, down] = &layer.projections;
    let x = kept.input;
    let inner = match kept.inner {
        Some(inner) => inner,
        None => forward_with_activations(layer, &x, config, segments)?.1,
    };
    // The gradient of a branch, from that of the stream behind it.
    let branch = |dy: &Tensor, before: Option<&Tensor>, norm: Option<&Tensor>| match (before, norm)
    {
        (Some(before), Some(weight)) => norm::backward(before, weight, config.eps, dy),
        _ => Ok(dy.clone()),
    };

    let d_lowered = branch(dy, inner.lowered.as_ref(), layer.output_norm.as_ref())?;
    let active = ops::activate(&inner.gate, config.family)?;
    let raised = (&active * &inner.up)?;
    let d_raised = wanted(down.backward(&raised, &d_lowered, gradients, true)?)?;
    let d_up = (&d_raised * active)?;
    let d_gate = activation::backward(&inner.gate, &(d_raised * &inner.up)?, config.family)?;
    let normed = ops::rms_norm(&inner.middle, &layer.middle_norm, config.eps)?;
    let d_normed = (wanted(gate.backward(&normed, &d_gate, gradients, true)?)?
        + wanted(up.backward(&normed, &d_up, gradients, true)?)?)?;
    let d_middle =
        (dy + norm::backward(&inner.middle, &layer.middle_norm, config.eps, &d_normed)?)?;

    let d_projected = branch(
        &d_middle,
        inner.projected.as_ref(),
        layer.attention_norm.as_ref(),
    )?;
    let d_mixed = wanted(o.backward(&inner.mixed, &d_projected, gradients, true)?)?;
    let [dq, dk, dv] = attention::backward(
        [&inner.q, &inner.k, &inner.v],
        &inner.mixed,
        &d_mixed,
        segments,
        &layer.attention,
    )?;
    let flat = |d: &Tensor| d.flatten(1, 2)?.contiguous();
    let dq = flat(&ops::rope(&dq, &segments.angles, true)?)?;
    let dk = flat(&ops::rope(&dk, &segments.angles, true)?)?;
    let dv = flat(&dv)?;
    let normed = ops::rms_norm(&x, &layer.input_norm, config.eps)?;
    let parts = [(q, dq), (k, dk), (v, dv)];
    let mut d_normed: Option<Tensor> = None;
    for (projection, d) in parts {
        let part = projection.backward(&normed, &d, gradients, wants_input)?;
        d_normed = match (d_normed, part) {
            (Some(sum), Some(part)) => Some((sum + part)?),
            (sum, part) => sum.or(part),
        };
    }
    match d_normed {
        None => Ok(None),
        Some(d) => {
            let through_norm = norm::backward(&x, &layer.input_norm, config.eps, &d)?;
            Ok(Some((d_middle + through_norm)?))
        }
    }
}

fn wanted(gradient: Option<Tensor>) -> Result<Tensor> {
    match gradient {
        Some(gradient) => Ok(gradient),
        None => candle_core::bail!("a gradient that was asked for is missing"),
    }
}
