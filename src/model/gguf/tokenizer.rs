//! Tokenizer of a GGUF file: its vocabulary as the JSON of a `tokenizer.json`, with the rules of the family that
//! the file names.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{GgufFile, integer, number};
use crate::{Error, Result};

/// Token types of GGUF: a special token; a token that is matched as a whole.
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

/// How byte-level vocabularies split texts before merges: words with their contractions, digits, other characters.
/// Llama 3 takes up to three digits at a time, Qwen 2 one.
const SPLIT: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

impl GgufFile {
    /// The tokenizer; it neither truncates nor pads.
    ///
    /// # Errors
    /// When the file has no vocabulary, or one of a kind that is not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let tokens = self.texts("tokenizer.ggml.tokens");
        let tokens = tokens.ok_or_else(|| self.without("tokenizer.ggml.tokens"))?;
        let json = match self.text("tokenizer.ggml.model").unwrap_or_default() {
            "gpt2" => self.byte_level(&tokens)?,
            "llama" => self.sentencepiece(&tokens)?,
            other => return Err(self.unknown_tokenizer("tokenizer.ggml.model", other)),
        };
        let invalid = |message: String| {
            Error::input(
                self.path(),
                format!("has an invalid tokenizer ({message})"),
                "fetch the model again",
            )
        };
        let bytes = serde_json::to_vec(&json).map_err(|error| invalid(error.to_string()))?;
        Tokenizer::from_bytes(bytes).map_err(|error| invalid(error.to_string()))
    }

    /// The error for a tokenizer that cannot be made of the metadata.
    fn unknown_tokenizer(&self, key: &str, value: &str) -> Error {
        Error::input(
            self.path(),
            format!("its tokenizer has {key} `{value}`, which is not supported"),
            "put the file alone into a folder with the model's tokenizer.json, and name the folder",
        )
    }

    /// Byte-level BPE of Llama 3, Qwen and SmolLM2.
    fn byte_level(&self, tokens: &[&str]) -> Result<Value> {
        let merges = self.texts("tokenizer.ggml.merges");
        let merges = merges.ok_or_else(|| self.without("tokenizer.ggml.merges"))?;
        let pre = self.text("tokenizer.ggml.pre").unwrap_or("default");
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = |digits: &str| {
            let pattern = SPLIT.join(digits);
            let split = json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            });
            json!([split, byte_level(false)])
        };
        let is_llama = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
        let steps = match pre {
            _ if is_llama => split("{1,3}"),
            "qwen2" => split(""),
            "smollm" => json!([{"type": "Digits", "individual_digits": true}, byte_level(true)]),
            "gpt-2" => json!([byte_level(true)]),
            other => return Err(self.unknown_tokenizer("tokenizer.ggml.pre", other)),
        };
        let is_qwen = pre == "qwen2";
        let merges: Vec<Vec<&str>> = merges
            .iter()
            .map(|merge| merge.splitn(2, ' ').collect())
            .collect();
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added_tokens(tokens),
            "normalizer": if is_qwen { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": self.post_processor(tokens, false),
            "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": is_llama, "vocab": vocabulary(tokens), "merges": merges,
            },
        }))
    }

    /// Character BPE with a fallback to bytes (SentencePiece): Gemma, and Llama 2 and Mistral.
    fn sentencepiece(&self, tokens: &[&str]) -> Result<Value> {
        let is_gemma = matches!(self.architecture()?, "gemma2" | "gemma3");
        // A run of spaces is stored as such in Gemma.
        let spelled: Vec<String> = tokens
            .iter()
            .map(|token| {
                if is_gemma && token.chars().all(|letter| letter == ' ') {
                    "▁".repeat(token.len())
                } else {
                    (*token).to_owned()
                }
            })
            .collect();
        let tokens: Vec<&str> = spelled.iter().map(String::as_str).collect();
        // Gemma's merges are in the order of its tokens, others' in that of the scores.
        let scores: Vec<f64> = if is_gemma {
            (0..tokens.len()).map(|id| -(id as f64)).collect()
        } else {
            let scores = self.list("tokenizer.ggml.scores").unwrap_or_default();
            scores.iter().filter_map(number).collect()
        };
        if scores.len() != tokens.len() {
            return Err(self.without("tokenizer.ggml.scores"));
        }
        let adds_space = self.flag("tokenizer.ggml.add_space_prefix") != Some(false);
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let (normalizer, pre_tokenizer) = if adds_space {
            let prepend = json!({"type": "Prepend", "prepend": "▁"});
            let steps = json!([prepend, replace(" ", "▁")]);
            (
                json!({"type": "Sequence", "normalizers": steps}),
                Value::Null,
            )
        } else {
            let split = json!({
                "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false,
            });
            (replace(" ", "▁"), split)
        };
        let mut decoders = vec![
            replace("▁", " "),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if adds_space {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.id("tokenizer.ggml.unknown_token_id");
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added_tokens(&tokens),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor(&tokens, true),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown.and_then(|id| tokens.get(id)),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary(&tokens),
                "merges": merges(&tokens, &scores),
            },
        }))
    }

    /// The tokens that are matched as a whole: special ones, and those that the model's authors added.
    fn added_tokens(&self, tokens: &[&str]) -> Vec<Value> {
        let kinds = self.list("tokenizer.ggml.token_type").unwrap_or_default();
        let kinds = kinds.iter().map(|kind| integer(kind).unwrap_or_default());
        let added = tokens
            .iter()
            .zip(kinds)
            .enumerate()
            .filter(|(_, (_, kind))| matches!(*kind, CONTROL | USER_DEFINED));
        let added = added.map(|(id, (content, kind))| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL,
            })
        });
        added.collect()
    }

    /// The post-processor that puts the BOS token before a text, if the model wants that. `default` is what
    /// files without the flag mean.
    fn post_processor(&self, tokens: &[&str], default: bool) -> Value {
        let adds_bos = self.flag("tokenizer.ggml.add_bos_token").unwrap_or(default);
        let bos = self.id("tokenizer.ggml.bos_token_id");
        let Some((id, bos)) = bos
            .and_then(|id| Some((id, *tokens.get(id)?)))
            .filter(|_| adds_bos)
        else {
            return Value::Null;
        };
        let special = |kind: usize| json!({"SpecialToken": {"id": bos, "type_id": kind}});
        let sequence = |name: &str, kind: usize| json!({"Sequence": {"id": name, "type_id": kind}});
        let mut ids = Map::new();
        ids.insert(
            bos.to_owned(),
            json!({"id": bos, "ids": [id], "tokens": [bos]}),
        );
        json!({
            "type": "TemplateProcessing",
            "single": [special(0), sequence("A", 0)],
            "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
            "special_tokens": ids,
        })
    }
}

/// The id of each token.
fn vocabulary(tokens: &[&str]) -> Map<String, Value> {
    let ids = tokens.iter().enumerate();
    ids.map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect()
}

/// The merges that a vocabulary without merges implies: every cut of a token into two tokens, best scores first
/// (transformers: `generate_merges`).
fn merges<'a>(tokens: &[&'a str], scores: &[f64]) -> Vec<[&'a str; 2]> {
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (*token, id))
        .collect();
    let mut merges: Vec<(f64, usize, usize, [&str; 2])> = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let first = merges.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                let length = |part: &str| part.chars().count();
                merges.push((*score, length(left), length(right), [left, right]));
            }
        }
        merges[first..].sort_by_key(|(_, _, _, [left, right])| (ids[left], ids[right]));
    }
    // Descending and stable: equal ones stay in the order of the ids of their parts.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    merges.into_iter().map(|(.., parts)| parts).collect()
}
