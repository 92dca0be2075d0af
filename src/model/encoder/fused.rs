//! How does an encoder run on the CPU? In fused f32 loops, over buffers that are used again.

use candle_core::{CpuStorage, Result, Storage, Tensor};

use super::{Encoder, Positions};
use crate::encoder::ops::{LayerNormWeights, Linear};
use crate::kernel::attention::attention;
use crate::kernel::gelu::bias_gelu;
use crate::kernel::matmul::{Matrix, Threads, matmul};
use crate::kernel::norm::{LayerNorm, bias_residual_norm, layer_norm};

/// The buffers between the steps; they grow to the largest batch and stay.
#[derive(Debug, Default)]
pub struct Buffers {
    x: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    raised: Vec<f32>,
    sum: Vec<f32>,
}

/// [`Encoder::forward`] for a model whose weights are f32 on the CPU: a row a token.
///
/// # Errors
/// When the weights are not, or a token is none of the vocabulary.
pub(super) fn forward<'a>(
    encoder: &Encoder,
    ids: &[u32],
    lengths: &[usize],
    buffers: &'a mut Buffers,
) -> Result<&'a [f32]> {
    let (tokens, width) = (ids.len(), encoder.width);
    let inner = encoder
        .layers
        .first()
        .map_or(Ok(0), |layer| layer.up.weight.dim(0))?;
    let x = sized(&mut buffers.x, tokens * width);
    let qkv = sized(&mut buffers.qkv, 3 * tokens * width);
    let mixed = sized(&mut buffers.mixed, tokens * width);
    let raised = sized(&mut buffers.raised, tokens * inner);
    let sum = sized(&mut buffers.sum, tokens * width);
    let positions = encoder.positions_of(ids, lengths);
    with(&encoder.words, |words| {
        gather(x, words, ids, |row, word| row.copy_from_slice(word))
    })??;
    let rotary = match &encoder.positions {
        Positions::FromZero(table) | Positions::AfterPad(table, _) => {
            let add = |row: &mut [f32], place: &[f32]| {
                row.iter_mut()
                    .zip(place)
                    .for_each(|(value, place)| *value += place);
            };
            with(table, |table| gather(x, table, &positions, add))??;
            None
        }
        Positions::Turned(rotary) => Some(&rotary.angles),
    };
    with_norm(&encoder.norm, |norm| layer_norm(x, norm))?;
    for layer in &encoder.layers {
        product(qkv, x, &layer.qkv)?;
        with(&layer.qkv.bias, |bias| {
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
        attention(qkv, lengths, encoder.heads, mixed);
        product(sum, mixed, &layer.out)?;
        finish(sum, &layer.out, x, &layer.attention_norm)?;
        product(raised, sum, &layer.up)?;
        with(&layer.up.bias, |bias| bias_gelu(raised, bias))?;
        product(x, raised, &layer.down)?;
        finish(x, &layer.down, sum, &layer.norm)?;
    }
    Ok(x)
}

/// The first `length` values of a buffer, which grows where it is too short.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// Hands each row the row of the table that its index names.
fn gather(
    rows: &mut [f32],
    table: &[f32],
    which: &[u32],
    take: impl Fn(&mut [f32], &[f32]),
) -> Result<()> {
    let width = rows.len().checked_div(which.len()).unwrap_or(0);
    for (row, &index) in rows.chunks_exact_mut(width.max(1)).zip(which) {
        let from = index as usize * width;
        let Some(found) = table.get(from..from + width) else {
            candle_core::bail!("the model has no row {index}: its tokenizer belongs to another");
        };
        take(row, found);
    }
    Ok(())
}

/// `out = x W^T`, the bias still to be added.
fn product(out: &mut [f32], x: &[f32], layer: &Linear) -> Result<()> {
    let (width, depth) = layer.weight.dims2()?;
    with(&layer.weight, |weight| {
        let x = Matrix::new(x, x.len() / depth, depth, depth);
        let weight = Matrix::new(weight, width, depth, depth).transposed();
        matmul(out, width, false, 1.0, x, weight, Threads::All);
    })
}

fn finish(
    rows: &mut [f32],
    layer: &Linear,
    residual: &[f32],
    norm: &LayerNormWeights,
) -> Result<()> {
    with(&layer.bias, |bias| {
        with_norm(norm, |norm| bias_residual_norm(rows, bias, residual, norm))
    })?
}

fn with_norm<R>(norm: &LayerNormWeights, act: impl FnOnce(LayerNorm<'_>) -> R) -> Result<R> {
    let eps = norm.eps;
    with(&norm.weight, |weight| {
        with(&norm.bias, |bias| act(LayerNorm { weight, bias, eps }))
    })?
}

/// Looks at the values of a contiguous f32 tensor on the CPU.
fn with<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(look(&values[from..to])),
        _ => candle_core::bail!("expected contiguous f32 values on the CPU"),
    }
}
