//! BERT (Devlin et al. 2019), as MiniLM and bge are shaped.

use candle_core::Tensor;

use super::{Encoder, Layer, Positions, Source, fold_token_type_embedding};
use crate::Result;
use crate::encoder::ops::Linear;

/// Loads BERT: positions count from 0.
pub(super) fn load(source: &Source) -> Result<Encoder> {
    let table = |table: Tensor| Positions::FromZero(table);
    load_named(source, "bert.", 0, table)
}

/// Loads an encoder with BERT's tensor names, which may all begin with `prefix`; `reserved`
/// positions before the first are never a token's.
pub(super) fn load_named(
    source: &Source,
    prefix: &str,
    reserved: usize,
    positions: impl FnOnce(Tensor) -> Positions,
) -> Result<Encoder> {
    let (config, weights) = (&source.config, &source.weights);
    let prefix = if weights.has(&format!("{prefix}embeddings.word_embeddings.weight")) {
        prefix
    } else {
        ""
    };
    let width = config.hidden_size;
    let embedding = |name: &str, rows: usize| {
        weights.get(
            &format!("{prefix}embeddings.{name}_embeddings.weight"),
            &[rows, width],
        )
    };
    let words = embedding("word", config.vocab_size)?;
    let types = embedding("token_type", config.type_vocab_size)?;
    let table = embedding("position", config.max_position_embeddings)?;
    let layers = (0..config.num_hidden_layers)
        .map(|layer| self::layer(source, &format!("{prefix}encoder.layer.{layer}")))
        .collect::<Result<_>>()?;
    Ok(Encoder {
        width,
        max_tokens: config.max_position_embeddings.saturating_sub(reserved),
        words: fold_token_type_embedding(&words, &types)?,
        positions: positions(table),
        norm: source.norm(&format!("{prefix}embeddings.LayerNorm"))?,
        layers,
        heads: config.num_attention_heads,
        device: source.device.clone(),
    })
}

fn layer(source: &Source, name: &str) -> Result<Layer> {
    let (width, inner) = (source.config.hidden_size, source.config.intermediate_size);
    let part = |part: &str| source.linear(&format!("{name}.attention.self.{part}"), width, width);
    let (q, k, v) = (part("query")?, part("key")?, part("value")?);
    // One product instead of three.
    let qkv = Linear {
        weight: Tensor::cat(&[q.weight, k.weight, v.weight], 0)?,
        bias: Tensor::cat(&[q.bias, k.bias, v.bias], 0)?,
    };
    Ok(Layer {
        qkv,
        out: source.linear(&format!("{name}.attention.output.dense"), width, width)?,
        attention_norm: source.norm(&format!("{name}.attention.output.LayerNorm"))?,
        up: source.linear(&format!("{name}.intermediate.dense"), inner, width)?,
        down: source.linear(&format!("{name}.output.dense"), width, inner)?,
        norm: source.norm(&format!("{name}.output.LayerNorm"))?,
    })
}
