//! jina-embeddings-v3 (Sturua et al. 2024): XLM-RoBERTa with rotary positions and an adapter a task.

use candle_core::Tensor;
use serde_json::Value;

use super::{Encoder, Layer, Positions, Source, fold_token_type_embedding};
use crate::encoder::ops::{Linear, Rotary};
use crate::{Error, Result};

/// Loads jina-v3. A task's low-rank adapters are added to the weights here, once; without a task
/// the weights stay as they are, as the reference's bare `encode` leaves them.
pub(super) fn load(source: &Source) -> Result<Encoder> {
    let config = &source.config;
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let adapter = source
        .task
        .as_deref()
        .map(|task| adapter(source, task))
        .transpose()?;
    let merged = Merged { source, adapter };
    let words = merged.embedding("roberta.embeddings.word_embeddings", config.vocab_size)?;
    let types = merged.embedding(
        "roberta.embeddings.token_type_embeddings",
        config.type_vocab_size,
    )?;
    let layers = (0..config.num_hidden_layers)
        .map(|layer| {
            let name = format!("roberta.encoder.layers.{layer}");
            Ok(Layer {
                qkv: merged.linear(&format!("{name}.mixer.Wqkv"), 3 * width, width)?,
                out: merged.linear(&format!("{name}.mixer.out_proj"), width, width)?,
                attention_norm: source.norm(&format!("{name}.norm1"))?,
                up: merged.linear(&format!("{name}.mlp.fc1"), inner, width)?,
                down: merged.linear(&format!("{name}.mlp.fc2"), width, inner)?,
                norm: source.norm(&format!("{name}.norm2"))?,
            })
        })
        .collect::<Result<_>>()?;
    // Two positions are kept for padding, as XLM-RoBERTa counts.
    let max_tokens = config.max_position_embeddings.saturating_sub(2);
    let head = width / config.num_attention_heads;
    let base = config.rest.get("rotary_emb_base").and_then(Value::as_f64);
    let rotary = Rotary::new(
        base.unwrap_or(10_000.0),
        head,
        max_tokens,
        source.precision,
        &source.device,
    )?;
    Ok(Encoder {
        width,
        max_tokens,
        words: fold_token_type_embedding(&words, &types)?,
        positions: Positions::Turned(rotary),
        norm: source.norm("roberta.emb_ln")?,
        layers,
        heads: config.num_attention_heads,
        device: source.device.clone(),
    })
}

/// Which adapter a task has, and by how much it counts.
struct Adapter {
    index: usize,
    count: usize,
    rank: usize,
    scale: f64,
}

fn adapter(source: &Source, task: &str) -> Result<Adapter> {
    let rest = &source.config.rest;
    let tasks: Vec<&str> = rest
        .get("lora_adaptations")
        .and_then(Value::as_array)
        .map(|tasks| tasks.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let index = tasks.iter().position(|known| *known == task);
    let number = |name: &str| rest.get(name).and_then(Value::as_f64).unwrap_or(1.0);
    let rank = number("lora_rank");
    Ok(Adapter {
        index: index.ok_or_else(|| Error::Unknown {
            what: "task",
            given: task.to_owned(),
            known: tasks.join(", "),
        })?,
        count: tasks.len(),
        rank: rank as usize,
        scale: number("lora_alpha") / rank,
    })
}

/// The weights, with a task's adapters added where there is a task.
struct Merged<'a> {
    source: &'a Source,
    adapter: Option<Adapter>,
}

impl Merged<'_> {
    fn embedding(&self, name: &str, rows: usize) -> Result<Tensor> {
        let shape = [rows, self.source.config.hidden_size];
        self.weight(name, shape, ["lora_A", "lora_B"])
    }

    fn linear(&self, name: &str, out: usize, into: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.weight(name, [out, into], ["lora_B", "lora_A"])?,
            bias: self.source.weights.get(&format!("{name}.bias"), &[out])?,
        })
    }

    /// `W + scale * left right`: the adapter's (rows, rank) times its (rank, columns).
    fn weight(&self, name: &str, shape: [usize; 2], factors: [&str; 2]) -> Result<Tensor> {
        let name = format!("{name}.parametrizations.weight");
        let weights = &self.source.weights;
        let original = weights.get(&format!("{name}.original"), &shape)?;
        let Some(adapter) = &self.adapter else {
            return Ok(original);
        };
        let factor = |which: usize, shape: [usize; 2]| -> Result<Tensor> {
            let all = [adapter.count, shape[0], shape[1]];
            let tensor = weights.get(&format!("{name}.0.{}", factors[which]), &all)?;
            Ok(tensor.get(adapter.index)?)
        };
        let left = factor(0, [shape[0], adapter.rank])?;
        let right = factor(1, [adapter.rank, shape[1]])?;
        Ok((original + (left.matmul(&right)? * adapter.scale)?)?)
    }
}
