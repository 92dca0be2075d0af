//! BERT (Devlin et al. 2019): the architecture of MiniLM and bge.

use candle_core::Tensor;

use super::{Checkpoint, Encoder, EncoderLayer, Positions, fold_token_type_embedding};
use crate::Result;
use crate::ops::linear::Linear;

/// Loads BERT: positions start at 0.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Encoder> {
    load_named(checkpoint, "bert.", 0, Positions::Absolute)
}

/// Loads an encoder with BERT's tensor names, with or without `prefix`. The first `reserved` rows of the
/// position table belong to no token, which shortens the maximum length.
pub(super) fn load_named(
    checkpoint: &Checkpoint,
    prefix: &str,
    reserved: usize,
    positions: impl FnOnce(Tensor) -> Positions,
) -> Result<Encoder> {
    let (config, weights) = (&checkpoint.config, &checkpoint.weights);
    let prefix = if weights.has(&format!("{prefix}embeddings.word_embeddings.weight")) {
        prefix
    } else {
        ""
    };
    let hidden_size = config.hidden_size;
    let embedding = |name: &str, rows: usize| {
        weights.get(
            &format!("{prefix}embeddings.{name}_embeddings.weight"),
            &[rows, hidden_size],
        )
    };
    let tokens = embedding("word", config.vocab_size)?;
    let types = embedding("token_type", config.type_vocab_size)?;
    let table = embedding("position", config.max_position_embeddings)?;
    let layers = (0..config.num_hidden_layers)
        .map(|layer| self::layer(checkpoint, &format!("{prefix}encoder.layer.{layer}")))
        .collect::<Result<_>>()?;
    Ok(Encoder {
        hidden_size,
        max_seq_length: config.max_position_embeddings.saturating_sub(reserved),
        token_embeddings: fold_token_type_embedding(&tokens, &types)?,
        positions: positions(table),
        embedding_norm: checkpoint.layer_norm(&format!("{prefix}embeddings.LayerNorm"))?,
        layers,
        heads: config.num_attention_heads,
        device: checkpoint.device.clone(),
    })
}

/// The encoder layer with this name prefix.
fn layer(checkpoint: &Checkpoint, name: &str) -> Result<EncoderLayer> {
    let hidden = checkpoint.config.hidden_size;
    let intermediate = checkpoint.config.intermediate_size;
    let linear = |part: &str, out: usize, into: usize| {
        checkpoint.linear(&format!("{name}.{part}"), out, into)
    };
    let part = |part: &str| linear(&format!("attention.self.{part}"), hidden, hidden);
    let (q, k, v) = (part("query")?, part("key")?, part("value")?);
    // One matrix product instead of three.
    let qkv = Linear {
        weight: Tensor::cat(&[q.weight, k.weight, v.weight], 0)?,
        bias: Tensor::cat(&[q.bias, k.bias, v.bias], 0)?,
    };
    Ok(EncoderLayer {
        qkv,
        out_proj: linear("attention.output.dense", hidden, hidden)?,
        attention_norm: checkpoint.layer_norm(&format!("{name}.attention.output.LayerNorm"))?,
        up: linear("intermediate.dense", intermediate, hidden)?,
        down: linear("output.dense", hidden, intermediate)?,
        mlp_norm: checkpoint.layer_norm(&format!("{name}.output.LayerNorm"))?,
    })
}
