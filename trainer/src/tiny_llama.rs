//! Tiny Llama: a small Llama with random weights and a byte tokenizer, written as a model folder.

use std::path::Path;

use candle_core::{Device, Tensor};
use polyphony_io::Result;
use polyphony_io::atomic::{write_atomic, write_json};
use polyphony_io::random::SplitMix64;
use serde_json::{Map, Value, json};

use polyphony_model::lora::{Metadata, write_tensors};

/// The shape of a small Llama.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TinyLlama {
    /// The size of the hidden states.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_layers: usize,
    /// The number of query heads; there are half as many key heads.
    pub num_heads: usize,
    /// The random seed of the weights.
    pub seed: u64,
}

/// The special tokens, with ids from 256 on: ids below are bytes.
const SPECIAL: [&str; 4] = ["<|begin|>", "<|user|>", "<|assistant|>", "<|end|>"];

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' \
    + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

impl TinyLlama {
    /// The smallest shape, for tests.
    #[cfg(test)]
    pub(crate) const SMALLEST: Self = Self {
        hidden_size: 8,
        num_layers: 1,
        num_heads: 2,
        seed: 1,
    };

    /// Writes the model: config, tokenizer with a chat template, random weights. The same shape and
    /// seed give the same bytes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = |name: &str, value: &Value| write_json(&folder.join(name), value);
        json("config.json", &self.config())?;
        json("tokenizer.json", &tokenizer())?;
        let special = json!({
            "bos_token": SPECIAL[0],
            "eos_token": SPECIAL[3],
            "pad_token": SPECIAL[3],
            "tokenizer_class": "PreTrainedTokenizerFast",
        });
        json("tokenizer_config.json", &special)?;
        json(
            "generation_config.json",
            &json!({"bos_token_id": 256, "eos_token_id": 259}),
        )?;
        write_atomic(&folder.join("chat_template.jinja"), TEMPLATE.as_bytes())?;
        let (names, tensors) = self.weights()?;
        write_tensors(
            &folder.join("model.safetensors"),
            &names,
            &tensors,
            &Metadata::new(),
        )
    }

    /// The size of the MLP's hidden layer.
    fn intermediate_size(&self) -> usize {
        3 * self.hidden_size
    }

    /// The model's `config.json`.
    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": 256 + SPECIAL.len(),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size(),
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": (self.num_heads / 2).max(1),
            "head_dim": self.hidden_size / self.num_heads,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": false,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 256,
            "eos_token_id": 259,
            "torch_dtype": "float32",
        })
    }

    /// Names and tensors of the weights: norms are 1, linear layers have the standard deviation
    /// `1 / sqrt(inputs)`, which preserves the scale of activations.
    fn weights(&self) -> Result<(Vec<String>, Vec<Tensor>)> {
        let mut random = SplitMix64::seed_from_u64(self.seed);
        let (hidden, intermediate) = (self.hidden_size, self.intermediate_size());
        let keys = (self.num_heads / 2).max(1) * (hidden / self.num_heads);
        let vocabulary = 256 + SPECIAL.len();
        let mut names = Vec::new();
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], std: f64| -> Result<()> {
            // The sum of twelve uniform numbers minus 6 is approximately standard normal (Irwin-Hall).
            let mut normal = || (0..12).map(|_| random.next_f64()).sum::<f64>() - 6.0;
            let count = shape.iter().product();
            let values: Vec<f32> = match shape {
                [_] => vec![1.0; count],
                _ => (0..count).map(|_| (std * normal()) as f32).collect(),
            };
            names.push(name);
            tensors.push(Tensor::from_vec(values, shape, &Device::Cpu)?);
            Ok(())
        };
        let std = |inputs: usize| 1.0 / (inputs as f64).sqrt();
        add(
            "model.embed_tokens.weight".to_owned(),
            &[vocabulary, hidden],
            1.0,
        )?;
        for layer in 0..self.num_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(name(norm), &[hidden], 0.0)?;
            }
            for (part, out, inputs) in [
                ("self_attn.q_proj", hidden, hidden),
                ("self_attn.k_proj", keys, hidden),
                ("self_attn.v_proj", keys, hidden),
                ("self_attn.o_proj", hidden, hidden),
                ("mlp.gate_proj", intermediate, hidden),
                ("mlp.up_proj", intermediate, hidden),
                ("mlp.down_proj", hidden, intermediate),
            ] {
                add(name(part), &[out, inputs], std(inputs))?;
            }
        }
        add("model.norm.weight".to_owned(), &[hidden], 0.0)?;
        add(
            "lm_head.weight".to_owned(),
            &[vocabulary, hidden],
            std(hidden),
        )?;
        Ok((names, tensors))
    }
}

/// A byte-level tokenizer without merges: one token a byte.
fn tokenizer() -> Value {
    let bytes = (0..=255_u8).map(|byte| (character(byte).to_string(), json!(byte)));
    let mut vocabulary: Map<String, Value> = bytes.collect();
    let mut added = Vec::new();
    for (number, content) in SPECIAL.iter().enumerate() {
        vocabulary.insert((*content).to_owned(), json!(256 + number));
        added.push(json!({
            "id": 256 + number, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }));
    }
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": [],
        },
    })
}

/// The character of a byte in byte-level vocabularies (GPT-2: `bytes_to_unicode`): printable bytes map to
/// themselves, the others, in order, to U+0100 and up.
fn character(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(256 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use polyphony_model::chat::{Chat, Message};
    use polyphony_model::files::ModelFiles;

    use super::*;

    #[test]
    fn tokens_are_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let tiny = TinyLlama {
            hidden_size: 16,
            num_layers: 1,
            num_heads: 2,
            seed: 1,
        };
        tiny.write(folder.path()).unwrap();
        let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
        let chat = Chat::load(&files).unwrap();
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let tokens = chat
            .tokenize_chat(&[message("user", "Ä b\n")], &[message("assistant", "!")])
            .unwrap();
        let bytes = "Ä b\n".bytes().map(u32::from);
        let expected = [256, 257]
            .into_iter()
            .chain(bytes)
            .chain([259, 258, 33, 259]);
        assert_eq!(tokens.ids, expected.collect::<Vec<_>>());
        assert_eq!(tokens.prompt_len, tokens.ids.len() - 2);
    }
}
