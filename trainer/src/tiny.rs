//! What learns in a demonstration? A small Llama with random weights that reads bytes, written as a
//! model's folder.

use std::path::Path;

use candle_core::{Device, Tensor};
use polyphony_io::Result;
use polyphony_io::atomic::write_atomic;
use serde_json::{Map, Value, json};

use crate::peft::write_tensors;
use polyphony_io::random::SplitMix64;

/// The shape of a small Llama.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TinyLlama {
    /// How many values a token's vector has.
    pub width: usize,
    /// How many layers there are.
    pub layers: usize,
    /// How many query heads; half as many keys.
    pub heads: usize,
    /// Where its weights begin.
    pub seed: u64,
}

/// The tokens behind the 256 bytes.
const SPECIAL: [&str; 4] = ["<|begin|>", "<|user|>", "<|assistant|>", "<|end|>"];

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' \
    + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

impl TinyLlama {
    /// As small as one can be.
    #[cfg(test)]
    pub(crate) const SMALLEST: Self = Self {
        width: 8,
        layers: 1,
        heads: 2,
        seed: 1,
    };

    /// Writes the model: config, tokenizer with a chat template, random weights. The same shape and
    /// seed give the same bytes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = |name: &str, value: &Value| {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            write_atomic(&folder.join(name), text.as_bytes())
        };
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
        write_tensors(&folder.join("model.safetensors"), &names, &tensors)
    }

    fn inner(&self) -> usize {
        3 * self.width
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": 256 + SPECIAL.len(),
            "hidden_size": self.width,
            "intermediate_size": self.inner(),
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": (self.heads / 2).max(1),
            "head_dim": self.width / self.heads,
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

    fn weights(&self) -> Result<(Vec<String>, Vec<Tensor>)> {
        let mut random = SplitMix64::seed_from_u64(self.seed);
        let (width, inner) = (self.width, self.inner());
        let keys = (self.heads / 2).max(1) * (width / self.heads);
        let vocabulary = 256 + SPECIAL.len();
        let mut names = Vec::new();
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], spread: f64| -> Result<()> {
            // Sums of twelve even numbers are near enough to normal ones.
            let mut normal = || (0..12).map(|_| random.next_f64()).sum::<f64>() - 6.0;
            let count = shape.iter().product();
            let values: Vec<f32> = match shape {
                [_] => vec![1.0; count],
                _ => (0..count).map(|_| (spread * normal()) as f32).collect(),
            };
            names.push(name);
            tensors.push(Tensor::from_vec(values, shape, &Device::Cpu)?);
            Ok(())
        };
        let spread = |into: usize| 1.0 / (into as f64).sqrt();
        add(
            "model.embed_tokens.weight".to_owned(),
            &[vocabulary, width],
            1.0,
        )?;
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(name(norm), &[width], 0.0)?;
            }
            for (part, out, into) in [
                ("self_attn.q_proj", width, width),
                ("self_attn.k_proj", keys, width),
                ("self_attn.v_proj", keys, width),
                ("self_attn.o_proj", width, width),
                ("mlp.gate_proj", inner, width),
                ("mlp.up_proj", inner, width),
                ("mlp.down_proj", width, inner),
            ] {
                add(name(part), &[out, into], spread(into))?;
            }
        }
        add("model.norm.weight".to_owned(), &[width], 0.0)?;
        add(
            "lm_head.weight".to_owned(),
            &[vocabulary, width],
            spread(width),
        )?;
        Ok((names, tensors))
    }
}

/// A tokenizer that makes a token of each byte.
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

/// The character that stands for a byte in byte-level vocabularies (GPT-2): printable ones for
/// themselves, the others in their order from U+0100 on.
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
    fn its_tokens_are_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let tiny = TinyLlama {
            width: 16,
            layers: 1,
            heads: 2,
            seed: 1,
        };
        tiny.write(folder.path()).unwrap();
        let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
        let chat = Chat::load(&files).unwrap();
        let says = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let tokens = chat
            .tokens(&[says("user", "Ä b\n")], &[says("assistant", "!")])
            .unwrap();
        let bytes = "Ä b\n".bytes().map(u32::from);
        let known = [256, 257]
            .into_iter()
            .chain(bytes)
            .chain([259, 258, 33, 259]);
        assert_eq!(tokens.ids, known.collect::<Vec<_>>());
        assert_eq!(tokens.prompt, tokens.ids.len() - 2);
    }
}
