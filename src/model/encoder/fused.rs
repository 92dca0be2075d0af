//! Fused CPU path of encoders: f32 kernels over buffers that are reused.

use candle_core::{CpuStorage, Result, Storage, Tensor};

use super::{Encoder, Positions};
use crate::kernel::attention::attention;
use crate::kernel::gelu::bias_gelu;
use crate::kernel::matmul::{Accumulate, Matrix, Threads, matmul};
use crate::kernel::norm::{LayerNormParams, bias_residual_norm, layer_norm};
use crate::ops::linear::Linear;
use crate::ops::norm::LayerNorm;

/// Buffers for intermediate results; they grow to the size of the largest batch.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The residual stream, (T, H).
    x: Vec<f32>,
    /// Queries, keys and values, (T, 3H).
    qkv: Vec<f32>,
    /// Output of attention, (T, H).
    attn_out: Vec<f32>,
    /// Hidden layer of the MLP, (T, I).
    mlp_hidden: Vec<f32>,
    /// The residual stream between attention and MLP, (T, H).
    sum: Vec<f32>,
}

/// [`Encoder::forward`] for weights in f32 on the CPU: T rows of H values.
///
/// # Errors
/// When the weights are not f32 on the CPU, or an id is not below the vocabulary size.
pub(super) fn forward<'a>(
    encoder: &Encoder,
    ids: &[u32],
    lengths: &[usize],
    buffers: &'a mut Buffers,
) -> Result<&'a [f32]> {
    let (tokens, width) = (ids.len(), encoder.hidden_size);
    let intermediate = encoder
        .layers
        .first()
        .map_or(Ok(0), |layer| layer.up.weight.dim(0))?;
    let x = sized(&mut buffers.x, tokens * width);
    let qkv = sized(&mut buffers.qkv, 3 * tokens * width);
    let attn_out = sized(&mut buffers.attn_out, tokens * width);
    let mlp_hidden = sized(&mut buffers.mlp_hidden, tokens * intermediate);
    let sum = sized(&mut buffers.sum, tokens * width);
    let positions = encoder.position_ids(ids, lengths);
    with_values(&encoder.token_embeddings, |table| {
        gather(x, table, ids, |row, embedding| {
            row.copy_from_slice(embedding);
        })
    })??;
    let rotary = match &encoder.positions {
        Positions::Absolute(table) | Positions::AbsoluteWithOffset(table, _) => {
            let add = |row: &mut [f32], position: &[f32]| {
                row.iter_mut()
                    .zip(position)
                    .for_each(|(value, position)| *value += position);
            };
            with_values(table, |table| gather(x, table, &positions, add))??;
            None
        }
        Positions::Rotary(_, table) => Some(table),
    };
    with_norm(&encoder.embedding_norm, |norm| layer_norm(x, norm))?;
    for layer in &encoder.layers {
        linear_without_bias(qkv, x, &layer.qkv)?;
        with_values(&layer.qkv.bias, |bias| {
            use rayon::prelude::*;
            let rows = qkv.par_chunks_exact_mut(3 * width);
            rows.for_each(|row| {
                row.iter_mut()
                    .zip(bias)
                    .for_each(|(value, bias)| *value += bias);
            });
        })?;
        if let Some(rotary) = rotary {
            rotary.apply_rotary(qkv, &positions, encoder.heads);
        }
        attention(qkv, lengths, encoder.heads, attn_out);
        linear_without_bias(sum, attn_out, &layer.out_proj)?;
        add_bias_and_residual(sum, &layer.out_proj, x, &layer.attention_norm)?;
        linear_without_bias(mlp_hidden, sum, &layer.up)?;
        with_values(&layer.up.bias, |bias| bias_gelu(mlp_hidden, bias))?;
        linear_without_bias(x, mlp_hidden, &layer.down)?;
        add_bias_and_residual(x, &layer.down, sum, &layer.mlp_norm)?;
    }
    Ok(x)
}

/// The first `length` values of a buffer, which is enlarged if too short. Old values are not cleared.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// Embedding lookup: calls `take` with each row and the table's row at that row's index in `which`.
fn gather(
    rows: &mut [f32],
    table: &[f32],
    which: &[u32],
    take: impl Fn(&mut [f32], &[f32]),
) -> Result<()> {
    let width = rows.len().checked_div(which.len()).unwrap_or(0);
    for (row, &index) in rows.chunks_exact_mut(width.max(1)).zip(which) {
        let from = index as usize * width;
        let Some(values) = table.get(from..from + width) else {
            candle_core::bail!(
                "embedding table has no row {index}: the tokenizer is of another model"
            );
        };
        take(row, values);
    }
    Ok(())
}

/// `out = x W^T`, without the bias, which later kernels add.
fn linear_without_bias(out: &mut [f32], x: &[f32], layer: &Linear) -> Result<()> {
    let (width, depth) = layer.weight.dims2()?;
    with_values(&layer.weight, |weight| {
        let x = Matrix::new(x, x.len() / depth, depth, depth);
        let weight = Matrix::new(weight, width, depth, depth).transposed();
        matmul(out, width, Accumulate::No, 1.0, x, weight, Threads::All);
    })
}

/// `rows = norm(rows + bias + residual)`.
fn add_bias_and_residual(
    rows: &mut [f32],
    layer: &Linear,
    residual: &[f32],
    norm: &LayerNorm,
) -> Result<()> {
    with_values(&layer.bias, |bias| {
        with_norm(norm, |norm| bias_residual_norm(rows, bias, residual, norm))
    })?
}

/// Calls `act` with the weight and bias of a layer norm.
fn with_norm<R>(norm: &LayerNorm, act: impl FnOnce(LayerNormParams<'_>) -> R) -> Result<R> {
    let eps = norm.eps;
    with_values(&norm.weight, |weight| {
        with_values(&norm.bias, |bias| {
            act(LayerNormParams { weight, bias, eps })
        })
    })?
}

/// Calls `look` with the values of a contiguous f32 tensor on the CPU, without a copy.
fn with_values<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(look(&values[from..to])),
        _ => candle_core::bail!("expected contiguous f32 values on the CPU"),
    }
}
