//! jina-embeddings-v3 (Sturua et al. 2024): XLM-RoBERTa with RoPE and one LoRA adapter per task.

use candle_core::Tensor;
use serde_json::Value;

use super::{Checkpoint, Encoder, EncoderLayer, Positions, fold_token_type_embedding};
use crate::kernel::rotary::{RotaryTable, inv_freq};
use crate::ops::linear::Linear;
use crate::ops::rotary::RotaryEmbedding;
use crate::{Error, Result};

/// Loads jina-v3. A task's adapter is merged into the weights here, once; without a task the weights are
/// those of the base model, as in the reference's `encode` without a task.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Encoder> {
    let config = &checkpoint.config;
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let adapter = checkpoint
        .task
        .as_deref()
        .map(|task| adapter(checkpoint, task))
        .transpose()?;
    let merged = MergedWeights {
        checkpoint,
        adapter,
    };
    let tokens = merged.embedding("roberta.embeddings.word_embeddings", config.vocab_size)?;
    let types = merged.embedding(
        "roberta.embeddings.token_type_embeddings",
        config.type_vocab_size,
    )?;
    let layers = (0..config.num_hidden_layers)
        .map(|layer| {
            let name = format!("roberta.encoder.layers.{layer}");
            Ok(EncoderLayer {
                qkv: merged.linear(&format!("{name}.mixer.Wqkv"), 3 * hidden, hidden)?,
                out_proj: merged.linear(&format!("{name}.mixer.out_proj"), hidden, hidden)?,
                attention_norm: checkpoint.layer_norm(&format!("{name}.norm1"))?,
                up: merged.linear(&format!("{name}.mlp.fc1"), intermediate, hidden)?,
                down: merged.linear(&format!("{name}.mlp.fc2"), hidden, intermediate)?,
                mlp_norm: checkpoint.layer_norm(&format!("{name}.norm2"))?,
            })
        })
        .collect::<Result<_>>()?;
    // Two positions are reserved for padding, as in XLM-RoBERTa.
    let max_seq_length = config.max_position_embeddings.saturating_sub(2);
    let head_dim = hidden / config.num_attention_heads;
    let theta = config.rest.get("rotary_emb_base").and_then(Value::as_f64);
    let inv_freq = inv_freq(theta.unwrap_or(10_000.0), head_dim);
    let rotary = RotaryEmbedding::new(0..max_seq_length, &inv_freq, &checkpoint.device)?
        .to_dtype(checkpoint.dtype)?;
    Ok(Encoder {
        hidden_size: hidden,
        max_seq_length,
        token_embeddings: fold_token_type_embedding(&tokens, &types)?,
        positions: Positions::Rotary(rotary, RotaryTable::new(&inv_freq, max_seq_length)),
        embedding_norm: checkpoint.layer_norm("roberta.emb_ln")?,
        layers,
        heads: config.num_attention_heads,
        device: checkpoint.device.clone(),
    })
}

/// A task's LoRA adapter. The adapters of all tasks are stored in one tensor, along its first dimension.
struct TaskAdapter {
    /// The task's index in the stacked tensor.
    index: usize,
    /// The number of tasks.
    count: usize,
    /// The LoRA rank.
    r: usize,
    /// `lora_alpha / r`.
    scale: f64,
}

/// The adapter of a task of config.json's `lora_adaptations`; an unknown task is an error.
fn adapter(checkpoint: &Checkpoint, task: &str) -> Result<TaskAdapter> {
    let rest = &checkpoint.config.rest;
    let tasks: Vec<&str> = rest
        .get("lora_adaptations")
        .and_then(Value::as_array)
        .map(|tasks| tasks.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let index = tasks.iter().position(|name| *name == task);
    let number = |name: &str| rest.get(name).and_then(Value::as_f64).unwrap_or(1.0);
    let rank = number("lora_rank");
    Ok(TaskAdapter {
        index: index.ok_or_else(|| Error::Unknown {
            what: "task",
            given: task.to_owned(),
            known: tasks.join(", "),
        })?,
        count: tasks.len(),
        r: rank as usize,
        scale: number("lora_alpha") / rank,
    })
}

/// The weights of the checkpoint; with a task, its adapter is merged into them.
struct MergedWeights<'a> {
    checkpoint: &'a Checkpoint,
    adapter: Option<TaskAdapter>,
}

impl MergedWeights<'_> {
    /// The embedding table, shape (rows, H). Its LoRA factors are swapped relative to linear
    /// layers: `lora_A` has shape (rows, r).
    fn embedding(&self, name: &str, rows: usize) -> Result<Tensor> {
        let shape = [rows, self.checkpoint.config.hidden_size];
        self.weight(name, shape, ["lora_A", "lora_B"])
    }

    /// The linear layer with this name prefix; its bias has no adapter.
    fn linear(&self, name: &str, out: usize, into: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.weight(name, [out, into], ["lora_B", "lora_A"])?,
            bias: self
                .checkpoint
                .weights
                .get(&format!("{name}.bias"), &[out])?,
        })
    }

    /// The merged weight `W + scale * left right`; the factors have shapes (rows, r) and (r, columns).
    fn weight(&self, name: &str, shape: [usize; 2], factors: [&str; 2]) -> Result<Tensor> {
        let name = format!("{name}.parametrizations.weight");
        let weights = &self.checkpoint.weights;
        let original = weights.get(&format!("{name}.original"), &shape)?;
        let Some(adapter) = &self.adapter else {
            return Ok(original);
        };
        let factor = |which: usize, shape: [usize; 2]| -> Result<Tensor> {
            let stacked = [adapter.count, shape[0], shape[1]];
            let tensor = weights.get(&format!("{name}.0.{}", factors[which]), &stacked)?;
            Ok(tensor.get(adapter.index)?)
        };
        let left = factor(0, [shape[0], adapter.r])?;
        let right = factor(1, [adapter.r, shape[1]])?;
        Ok((original + (left.matmul(&right)? * adapter.scale)?)?)
    }
}
