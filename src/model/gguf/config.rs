//! Configuration of a GGUF file: its metadata as the JSON files of a model's folder in transformers' format.

use serde_json::{Map, Value, json};

use super::{GgufFile, integer, number};
use crate::{Error, Result};

/// Names in config.json and in the metadata of the architecture: whole numbers.
const COUNTS: [(&str, &str); 7] = [
    ("num_hidden_layers", "block_count"),
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("max_position_embeddings", "context_length"),
    ("sliding_window", "attention.sliding_window"),
];

/// Names in config.json and in the metadata of the architecture: other numbers.
const NUMBERS: [(&str, &str); 5] = [
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("rope_theta", "rope.freq_base"),
    ("rope_local_base_freq", "rope.freq_base_swa"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
];

impl GgufFile {
    /// A JSON file of the model's folder in transformers' format; `None` for a file that is not made of metadata.
    ///
    /// # Errors
    /// When metadata are missing.
    pub fn json_file(&self, file: &str) -> Result<Option<Value>> {
        Ok(match file {
            "config.json" => Some(self.config()?),
            "generation_config.json" => Some(self.generation_config()),
            "tokenizer_config.json" => Some(self.tokenizer_config()),
            _ => None,
        })
    }

    /// The configuration of the decoder.
    fn config(&self) -> Result<Value> {
        let architecture = self.architecture()?;
        let mut config = Map::new();
        for (name, key) in COUNTS {
            if let Some(count) = self.setting(key).and_then(integer) {
                config.insert(name.to_owned(), json!(count));
            }
        }
        for (name, key) in NUMBERS {
            if let Some(value) = self.setting(key).and_then(number) {
                config.insert(name.to_owned(), json!(value));
            }
        }
        // llama.cpp's architecture gemma3 is the text model.
        let model_type = if architecture == "gemma3" {
            "gemma3_text"
        } else {
            architecture
        };
        let embeddings = self.shape("model.embed_tokens.weight");
        let embeddings = embeddings.ok_or_else(|| self.without("token_embd.weight"))?;
        let mut insert = |name: &str, value: Value| config.insert(name.to_owned(), value);
        insert("model_type", json!(model_type));
        insert("vocab_size", json!(embeddings[0]));
        let tied = self.shape("lm_head.weight").is_none();
        insert("tie_word_embeddings", json!(tied));
        let biased = self.shape("model.layers.0.self_attn.o_proj.bias").is_some();
        insert("attention_bias", json!(biased));
        let head_dim = self.head_dim()?;
        insert("head_dim", json!(head_dim));
        if let Some(scalar) = self.query_pre_attn_scalar(head_dim) {
            insert("query_pre_attn_scalar", json!(scalar));
        }
        if let Some(scaling) = self.rope_scaling(head_dim)? {
            insert("rope_scaling", scaling);
        }
        Ok(Value::Object(config))
    }

    /// A count of the architecture's settings, or an error.
    fn count(&self, key: &str) -> Result<usize> {
        let count = self
            .setting(key)
            .and_then(integer)
            .filter(|count| *count > 0);
        count.ok_or_else(|| self.without(key))
    }

    /// The size of a head: as stored, else the hidden size divided by the number of heads.
    fn head_dim(&self) -> Result<usize> {
        match self.setting("attention.key_length").and_then(integer) {
            Some(size) => Ok(size),
            None => Ok(self.count("embedding_length")? / self.count("attention.head_count")?),
        }
    }

    /// Gemma's `query_pre_attn_scalar`, which is not stored: the head size, except in the largest model of each
    /// generation (27B, of 46 and 62 layers), where it is the hidden size divided by the number of heads.
    fn query_pre_attn_scalar(&self, head_dim: usize) -> Option<usize> {
        let largest = match self.architecture().ok()? {
            "gemma2" => 46,
            "gemma3" => 62,
            _ => return None,
        };
        if self.count("block_count").ok()? != largest {
            return Some(head_dim);
        }
        Some(self.count("embedding_length").ok()? / self.count("attention.head_count").ok()?)
    }

    /// RoPE scaling as in config.json. Llama 3's is stored as a tensor of divisors, from which its parameters
    /// follow.
    fn rope_scaling(&self, head_dim: usize) -> Result<Option<Value>> {
        if let Some(divisors) = self.rope_divisors()? {
            let theta = self.setting("rope.freq_base").and_then(number);
            let found = llama3_scaling(&divisors, theta.unwrap_or(10_000.0), head_dim);
            let unknown = || {
                let message = "has RoPE divisors that are not those of Llama 3";
                Error::input(
                    self.path(),
                    message,
                    "name the model's folder of safetensors",
                )
            };
            return found.map(Some).ok_or_else(unknown);
        }
        let text = |key: &str| self.setting(key)?.to_string().ok().cloned();
        let kind = text("rope.scaling.type").filter(|kind| kind != "none");
        let factor = self.setting("rope.scaling.factor").and_then(number);
        Ok(kind.map(|kind| json!({"rope_type": kind, "factor": factor})))
    }

    /// The ids of the tokens that end a text.
    fn generation_config(&self) -> Value {
        let keys = ["eos_token_id", "eot_token_id"];
        let ids = keys
            .iter()
            .filter_map(|key| self.id(&format!("tokenizer.ggml.{key}")));
        json!({"eos_token_id": ids.collect::<Vec<_>>()})
    }

    /// The special tokens and the chat template.
    fn tokenizer_config(&self) -> Value {
        let tokens = self.texts("tokenizer.ggml.tokens").unwrap_or_default();
        let token = |key: &str| Some(*tokens.get(self.id(&format!("tokenizer.ggml.{key}"))?)?);
        json!({
            "bos_token": token("bos_token_id"),
            "eos_token": token("eos_token_id"),
            "chat_template": self.text("tokenizer.chat_template"),
        })
    }
}

/// The parameters of Llama 3's RoPE scaling that give these divisors of the frequencies (llama.cpp stores divisors
/// of the published models, all with `low_freq_factor` 1 and `high_freq_factor` 4); `None` if there are none.
fn llama3_scaling(divisors: &[f32], theta: f64, head_dim: usize) -> Option<Value> {
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max)).round();
    let matches = |original: f64| {
        let expected = (0..head_dim / 2).map(|pair| {
            let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
            let turns = original * frequency / std::f64::consts::TAU;
            if turns < LOW {
                factor
            } else if turns > HIGH {
                1.0
            } else {
                let smooth = (turns - LOW) / (HIGH - LOW);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        });
        divisors.len() == head_dim / 2
            && expected
                .zip(divisors)
                .all(|(expected, actual)| (f64::from(*actual) / expected - 1.0).abs() < 1e-3)
    };
    // The published length first: a small head has too few frequencies to tell lengths apart.
    let powers = std::iter::once(13).chain(4..=20);
    let mut lengths = powers.map(|power| f64::from(1 << power));
    let original = lengths.find(|original| matches(*original))?;
    Some(json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
        "original_max_position_embeddings": original as usize,
    }))
}
