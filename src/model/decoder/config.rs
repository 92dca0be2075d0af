//! What does config.json say of a decoder? The fields of Llama, Mistral and Gemma-2, old and new.

use std::path::Path;

use serde_json::Value;

use crate::files::ModelFiles;
use crate::{Error, Result};

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which family's steps it is made of.
    pub family: Family,
    /// How many different tokens it knows.
    pub vocabulary: usize,
    /// How many values a token's vector has.
    pub width: usize,
    /// How many values the middle of the feed-forward step has.
    pub inner: usize,
    /// How many query heads there are.
    pub heads: usize,
    /// How many key and value heads there are; each serves as many query heads.
    pub kv_heads: usize,
    /// How many values a head has.
    pub head: usize,
    /// The longest text it takes, in tokens.
    pub max_tokens: usize,
    /// Added to the mean square of a norm.
    pub eps: f32,
    /// Whether the words' table is the head, too.
    pub tied: bool,
    /// How positions turn queries and keys.
    pub rope: Rope,
    /// How many tokens back a layer sees, itself counted; none sees all. One a layer.
    pub windows: Vec<Option<usize>>,
    /// What scores are multiplied by.
    pub scale: f64,
    /// Where scores are capped: `cap * tanh(score / cap)`.
    pub score_cap: Option<f64>,
    /// Where logits are capped.
    pub logit_cap: Option<f64>,
}

/// Which steps a decoder is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama (Dubey et al. 2024) and Mistral (Jiang et al. 2023).
    Llama,
    /// Gemma-2 (Gemma Team 2024): norms of `1 + w`, four a layer, and a tanh GELU.
    Gemma2,
}

/// Rotary positions: frequencies `base^(-2i/head)`, and how they are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub base: f64,
    /// How they are stretched to longer texts.
    pub scaling: Scaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear(f64),
    /// As Llama 3.1: low ones divided, high ones kept, those between blended.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Wavelengths above `original / low` are low frequencies.
        low: f64,
        /// Wavelengths below `original / high` are high ones.
        high: f64,
        /// The length that the model was first trained with.
        original: f64,
    },
}

impl Rope {
    /// The frequency of each pair of values of a head (transformers' `modeling_rope_utils`).
    pub fn frequencies(&self, head: usize) -> Vec<f64> {
        let plain = (0..head / 2).map(|i| self.base.powf(-2.0 * i as f64 / head as f64));
        plain.map(|frequency| self.stretched(frequency)).collect()
    }

    fn stretched(&self, frequency: f64) -> f64 {
        match self.scaling {
            Scaling::None => frequency,
            Scaling::Linear(factor) => frequency / factor,
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let turns = original * frequency / std::f64::consts::TAU;
                if turns < low {
                    frequency / factor
                } else if turns > high {
                    frequency
                } else {
                    let smooth = (turns - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

impl Config {
    /// Reads config.json of a model.
    ///
    /// # Errors
    /// When it is missing, of an unknown architecture, or says what no such model can be.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let path = files.require("config.json")?;
        let raw = files.json("config.json")?.unwrap_or_default();
        Self::parse(&raw, &path)
    }

    fn parse(raw: &Value, path: &Path) -> Result<Self> {
        let fields = Fields { raw, path };
        let kind = raw["model_type"].as_str().unwrap_or_default();
        let family = match kind {
            "llama" | "mistral" => Family::Llama,
            "gemma2" => Family::Gemma2,
            _ => {
                return Err(Error::Unknown {
                    what: "architecture",
                    given: format!("{kind} of {}", path.display()),
                    known: "llama, mistral, gemma2".to_owned(),
                });
            }
        };
        for biased in ["attention_bias", "mlp_bias"] {
            if raw[biased].as_bool() == Some(true) {
                return Err(fields.wrong(format!("says {biased}, which is not known here")));
            }
        }
        if !raw["quantization_config"].is_null() {
            let message = "says quantization_config: quantised weights are not known here";
            return Err(fields.wrong(message.to_owned()));
        }
        // transformers reads this field of Gemma-2, whatever its hidden_act says.
        let (field, known) = match family {
            Family::Llama => ("hidden_act", "silu"),
            Family::Gemma2 => ("hidden_activation", "gelu_pytorch_tanh"),
        };
        if !raw[field].is_null() && raw[field] != known {
            let message = format!("says {field} {}; known is {known}", raw[field]);
            return Err(fields.wrong(message));
        }
        let heads = fields.count("num_attention_heads")?;
        let width = fields.count("hidden_size")?;
        let head = fields.count_or("head_dim", width / heads)?;
        let layers = fields.count("num_hidden_layers")?;
        let config = Self {
            family,
            vocabulary: fields.count("vocab_size")?,
            width,
            inner: fields.count("intermediate_size")?,
            heads,
            kv_heads: fields.count_or("num_key_value_heads", heads)?,
            head,
            max_tokens: fields.count("max_position_embeddings")?,
            eps: fields.positive("rms_norm_eps", Some(1e-6))? as f32,
            tied: raw["tie_word_embeddings"]
                .as_bool()
                .unwrap_or(family == Family::Gemma2),
            rope: fields.rope()?,
            windows: (0..layers)
                .map(|layer| fields.window(family, layer))
                .collect(),
            scale: match family {
                Family::Llama => head as f64,
                Family::Gemma2 => fields.positive("query_pre_attn_scalar", Some(256.0))?,
            }
            .powf(-0.5),
            score_cap: fields.cap("attn_logit_softcapping")?,
            logit_cap: fields.cap("final_logit_softcapping")?,
        };
        if !config.heads.is_multiple_of(config.kv_heads) || !config.head.is_multiple_of(2) {
            let message = "has heads that do not divide among the key heads, or of an odd size";
            return Err(fields.wrong(message.to_owned()));
        }
        Ok(config)
    }
}

/// The fields of one config.json, and the errors that name it.
struct Fields<'a> {
    raw: &'a Value,
    path: &'a Path,
}

impl Fields<'_> {
    fn wrong(&self, message: String) -> Error {
        Error::input(self.path, message, "choose a model that has it right")
    }

    fn count(&self, name: &str) -> Result<usize> {
        let number = self.raw[name]
            .as_u64()
            .filter(|number| (1..1 << 32).contains(number));
        let number = number.ok_or_else(|| self.wrong(format!("has no whole number `{name}`")))?;
        Ok(number as usize)
    }

    fn count_or(&self, name: &str, otherwise: usize) -> Result<usize> {
        if self.raw[name].is_null() && otherwise > 0 {
            return Ok(otherwise);
        }
        self.count(name)
    }

    fn positive(&self, name: &str, otherwise: Option<f64>) -> Result<f64> {
        let given = if self.raw[name].is_null() {
            otherwise
        } else {
            self.raw[name].as_f64()
        };
        let positive = given.filter(|number| *number > 0.0 && number.is_finite());
        positive.ok_or_else(|| self.wrong(format!("has no positive number `{name}`")))
    }

    fn cap(&self, name: &str) -> Result<Option<f64>> {
        if self.raw[name].is_null() {
            return Ok(None);
        }
        self.positive(name, None).map(Some)
    }

    /// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` before.
    fn rope(&self) -> Result<Rope> {
        let new = &self.raw["rope_parameters"];
        let (base, scaling) = if new.is_object() {
            let base = Some(&new["rope_theta"]).filter(|base| !base.is_null());
            (base.unwrap_or(&self.raw["rope_theta"]), new)
        } else {
            (&self.raw["rope_theta"], &self.raw["rope_scaling"])
        };
        let base = base.as_f64().unwrap_or(10_000.0);
        if base.is_nan() || base <= 1.0 {
            return Err(self.wrong("has no rope_theta above 1".to_owned()));
        }
        let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str());
        let number = |name: &str| {
            let number = scaling[name].as_f64().filter(|number| *number > 0.0);
            number.ok_or_else(|| self.wrong(format!("has no `{name}` of its rope scaling")))
        };
        let scaling = match kind.unwrap_or("default") {
            "default" => Scaling::None,
            "linear" => Scaling::Linear(number("factor")?),
            "llama3" => Scaling::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                original: number("original_max_position_embeddings")?,
            },
            other => {
                let message = format!("says rope scaling `{other}`; known are linear, llama3");
                return Err(self.wrong(message));
            }
        };
        Ok(Rope { base, scaling })
    }

    /// Gemma-2's layers slide and see all by turns; Mistral's all slide, or none.
    fn window(&self, family: Family, layer: usize) -> Option<usize> {
        let window = self.raw["sliding_window"].as_u64()? as usize;
        let slides = match self.raw["layer_types"][layer].as_str() {
            Some(kind) => kind == "sliding_attention",
            None => family == Family::Llama || layer.is_multiple_of(2),
        };
        slides.then_some(window)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(field: &str, value: Value) -> Option<String> {
        let mut raw = json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 8,
        });
        raw[field] = value;
        let parsed = Config::parse(&raw, Path::new("config.json"));
        parsed.err().map(|error| error.to_string())
    }

    /// Files of transformers 4, as most of the hub are, and of transformers 5 say the same.
    #[test]
    fn old_and_new_fields_of_positions_are_read() {
        let rope = |fields: Value| {
            let mut raw = json!({
                "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 8,
            });
            let all = raw.as_object_mut().unwrap();
            all.extend(fields.as_object().unwrap().clone());
            Config::parse(&raw, Path::new("config.json")).unwrap().rope
        };
        let llama3 = json!({
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        });
        let known = Rope {
            base: 500_000.0,
            scaling: Scaling::Llama3 {
                factor: 8.0,
                low: 1.0,
                high: 4.0,
                original: 8192.0,
            },
        };
        let old = json!({"rope_theta": 500_000.0, "rope_scaling": llama3});
        assert_eq!(rope(old), known);
        let mut new = llama3;
        new["rope_theta"] = json!(500_000.0);
        assert_eq!(rope(json!({"rope_parameters": new})), known);
        let known = Rope {
            base: 10_000.0,
            scaling: Scaling::Linear(4.0),
        };
        let linear = json!({"rope_scaling": {"type": "linear", "factor": 4.0}});
        assert_eq!(rope(linear), known);
        let linear = json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0}});
        assert_eq!(rope(linear), known);
        let plain = Rope {
            base: 1e6,
            scaling: Scaling::None,
        };
        assert_eq!(
            rope(json!({"rope_theta": 1e6, "rope_scaling": null})),
            plain
        );
        let new = json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
        assert_eq!(rope(new), plain);
    }

    #[test]
    fn what_would_be_computed_otherwise_is_refused() {
        assert_eq!(refusal("hidden_act", json!("silu")), None);
        assert_eq!(refusal("hidden_act", Value::Null), None);
        let said = refusal("hidden_act", json!("gelu")).unwrap();
        assert!(
            said.contains("says hidden_act \"gelu\"; known is silu"),
            "{said}"
        );
        let said = refusal("quantization_config", json!({"quant_method": "fp8"})).unwrap();
        assert!(said.contains("quantised weights"), "{said}");
    }
}
