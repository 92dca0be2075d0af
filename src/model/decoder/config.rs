//! Decoder configuration: config.json of Llama, Mistral and Gemma-2, as transformers 4 and 5 write it.

use std::path::Path;

use serde_json::Value;

use crate::files::ModelFiles;
use crate::kernel::rotary;
use crate::ops::activation::Activation;
use crate::{Error, Result};

/// The hyperparameters of a decoder. Fields are named as in config.json where it has them.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// The model family.
    pub family: Family,
    /// Vocabulary size (V).
    pub vocab_size: usize,
    /// Hidden size (H): values per token.
    pub hidden_size: usize,
    /// Hidden layer size of the MLP (I).
    pub intermediate_size: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, a divisor of the number of query heads (grouped-query attention).
    pub num_key_value_heads: usize,
    /// Size of one head (D), an even number.
    pub head_dim: usize,
    /// The context length, in tokens.
    pub max_position_embeddings: usize,
    /// Epsilon that RMS norms add to the mean square.
    pub rms_norm_eps: f32,
    /// Whether the LM head shares the weights of the token embeddings.
    pub tie_word_embeddings: bool,
    /// Rotary position embeddings.
    pub rope: RopeConfig,
    /// The sliding window of each layer, in tokens, the token itself included; `None` is full attention.
    pub sliding_windows: Vec<Option<usize>>,
    /// The factor that attention scores are multiplied by before the softmax: `head_dim^(-1/2)`, or Gemma-2's
    /// `query_pre_attn_scalar^(-1/2)`.
    pub attention_scale: f64,
    /// Soft cap of attention scores: `cap * tanh(score / cap)`; Gemma-2 only.
    pub attn_logit_softcap: Option<f64>,
    /// Soft cap of the LM head's logits; Gemma-2 only.
    pub final_logit_softcap: Option<f64>,
}

/// Model family: the norms and activation function of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama (Dubey et al. 2024) and Mistral (Jiang et al. 2023): two norms a layer, SiLU.
    Llama,
    /// Gemma-2 (Gemma Team 2024): four norms of `1 + w` a layer, tanh GELU.
    Gemma2,
}

impl Family {
    /// The activation function of the family's MLP.
    pub const fn activation(self) -> Activation {
        match self {
            Self::Llama => Activation::Silu,
            Self::Gemma2 => Activation::GeluTanh,
        }
    }
}

/// RoPE parameters (Su et al. 2021): the base of the frequencies and their scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies, `rope_theta`, above 1.
    pub theta: f64,
    /// The scaling of frequencies to longer contexts.
    pub scaling: RopeScaling,
}

/// RoPE scaling (transformers: `modeling_rope_utils.py`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// No scaling: `default`.
    None,
    /// All frequencies are divided by a factor: `linear`.
    Linear(f64),
    /// Llama 3.1: low frequencies are divided, high ones unchanged, those between interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high ones.
        high_freq_factor: f64,
        /// The context length of pre-training, in tokens.
        original_max_position_embeddings: f64,
    },
}

impl RopeConfig {
    /// The scaled inverse frequencies of a head of `head_dim` values, `head_dim / 2` of them
    /// (transformers: `inv_freq`).
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f64> {
        let unscaled = rotary::inv_freq(self.theta, head_dim).into_iter();
        unscaled.map(|frequency| self.scaled(frequency)).collect()
    }

    /// An inverse frequency after RoPE scaling.
    fn scaled(&self, frequency: f64) -> f64 {
        match self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear(factor) => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                // The number of full rotations over the original context.
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

impl DecoderConfig {
    /// Reads config.json of a model.
    ///
    /// # Errors
    /// When the file is missing, the architecture is not supported, or a field is out of range.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let path = files.require("config.json")?;
        let raw = files.read_json("config.json")?.unwrap_or_default();
        Self::parse(&raw, &path)
    }

    /// Parses and checks config.json; `path` is named in errors.
    fn parse(raw: &Value, path: &Path) -> Result<Self> {
        let fields = Fields { raw, path };
        let model_type = raw["model_type"].as_str().unwrap_or_default();
        let family = match model_type {
            "llama" | "mistral" => Family::Llama,
            "gemma2" => Family::Gemma2,
            _ => {
                return Err(Error::Unknown {
                    what: "architecture",
                    given: format!("{model_type} of {}", path.display()),
                    known: "llama, mistral, gemma2".to_owned(),
                });
            }
        };
        fields.check_supported(family)?;
        let num_attention_heads = fields.count("num_attention_heads")?;
        let hidden_size = fields.count("hidden_size")?;
        let head_dim = fields.count_or("head_dim", hidden_size / num_attention_heads)?;
        let layers = fields.count("num_hidden_layers")?;
        let config = Self {
            family,
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            num_attention_heads,
            num_key_value_heads: fields.count_or("num_key_value_heads", num_attention_heads)?,
            head_dim,
            max_position_embeddings: fields.count("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps", Some(1e-6))? as f32,
            tie_word_embeddings: raw["tie_word_embeddings"]
                .as_bool()
                .unwrap_or(family == Family::Gemma2),
            rope: fields.rope()?,
            sliding_windows: (0..layers)
                .map(|layer| fields.sliding_window(family, layer))
                .collect(),
            attention_scale: match family {
                Family::Llama => head_dim as f64,
                Family::Gemma2 => fields.positive("query_pre_attn_scalar", Some(256.0))?,
            }
            .powf(-0.5),
            attn_logit_softcap: fields.softcap("attn_logit_softcapping")?,
            final_logit_softcap: fields.softcap("final_logit_softcapping")?,
        };
        let (heads, groups) = (config.num_attention_heads, config.num_key_value_heads);
        if !heads.is_multiple_of(groups) {
            return Err(fields.wrong(format!(
                "num_attention_heads must be a multiple of num_key_value_heads (got {heads} and {groups})"
            )));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(fields.wrong(format!("head_dim must be even (got {head_dim})")));
        }
        Ok(config)
    }
}

/// The fields of one config.json, with its path for error messages.
struct Fields<'a> {
    raw: &'a Value,
    path: &'a Path,
}

impl Fields<'_> {
    /// The error for a field.
    fn wrong(&self, message: String) -> Error {
        Error::input(self.path, message, "choose another model")
    }

    /// Rejects settings that would change the computation and are not implemented.
    fn check_supported(&self, family: Family) -> Result<()> {
        for bias in ["attention_bias", "mlp_bias"] {
            if self.raw[bias].as_bool() == Some(true) {
                return Err(self.wrong(format!("{bias} is true, which is not supported")));
            }
        }
        if !self.raw["quantization_config"].is_null() {
            let message = "has a quantization_config: quantised weights are not supported";
            return Err(self.wrong(message.to_owned()));
        }
        // transformers uses this field for Gemma-2 and ignores `hidden_act`.
        let (field, supported) = match family {
            Family::Llama => ("hidden_act", "silu"),
            Family::Gemma2 => ("hidden_activation", "gelu_pytorch_tanh"),
        };
        let value = &self.raw[field];
        if !value.is_null() && value != supported {
            let message = format!("{field} must be \"{supported}\" (got {value})");
            return Err(self.wrong(message));
        }
        Ok(())
    }

    /// A required integer from 1 to 2^32 - 1.
    fn count(&self, name: &str) -> Result<usize> {
        let value = &self.raw[name];
        let number = value
            .as_u64()
            .filter(|number| (1..1 << 32).contains(number));
        let number = number.ok_or_else(|| {
            self.wrong(format!(
                "{name} must be an integer from 1 to 2^32 - 1 (got {value})"
            ))
        })?;
        Ok(number as usize)
    }

    /// An integer from 1 to 2^32 - 1; `default` if the field is missing and `default` is not 0.
    fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        if self.raw[name].is_null() && default > 0 {
            return Ok(default);
        }
        self.count(name)
    }

    /// A number above 0; `default` if the field is missing.
    fn positive(&self, name: &str, default: Option<f64>) -> Result<f64> {
        let value = &self.raw[name];
        let number = if value.is_null() {
            default
        } else {
            value.as_f64()
        };
        let positive = number.filter(|number| *number > 0.0 && number.is_finite());
        positive.ok_or_else(|| self.wrong(format!("{name} must be > 0 (got {value})")))
    }

    /// An optional soft cap; `None` if the field is missing or null.
    fn softcap(&self, name: &str) -> Result<Option<f64>> {
        if self.raw[name].is_null() {
            return Ok(None);
        }
        self.positive(name, None).map(Some)
    }

    /// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of transformers 4.
    fn rope(&self) -> Result<RopeConfig> {
        let new = &self.raw["rope_parameters"];
        let (theta, scaling) = if new.is_object() {
            let theta = Some(&new["rope_theta"]).filter(|theta| !theta.is_null());
            (theta.unwrap_or(&self.raw["rope_theta"]), new)
        } else {
            (&self.raw["rope_theta"], &self.raw["rope_scaling"])
        };
        let theta = theta.as_f64().unwrap_or(10_000.0);
        if theta.is_nan() || theta <= 1.0 {
            return Err(self.wrong(format!("rope_theta must be > 1 (got {theta})")));
        }
        let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str());
        let number = |name: &str| {
            let number = scaling[name].as_f64().filter(|number| *number > 0.0);
            number.ok_or_else(|| {
                self.wrong(format!(
                    "{name} of its RoPE scaling must be > 0 (got {})",
                    scaling[name]
                ))
            })
        };
        let scaling = match kind.unwrap_or("default") {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear(number("factor")?),
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: number("original_max_position_embeddings")?,
            },
            other => {
                let message =
                    format!("RoPE scaling must be default, linear or llama3 (got `{other}`)");
                return Err(self.wrong(message));
            }
        };
        Ok(RopeConfig { theta, scaling })
    }

    /// Gemma-2 alternates sliding-window and full attention; in Mistral either all layers have it or none.
    fn sliding_window(&self, family: Family, layer: usize) -> Option<usize> {
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

    /// The error of config.json with one field replaced, if any.
    fn refusal(field: &str, value: Value) -> Option<String> {
        let mut raw = json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 8,
        });
        raw[field] = value;
        let parsed = DecoderConfig::parse(&raw, Path::new("config.json"));
        parsed.err().map(|error| error.to_string())
    }

    /// Most models of the hub were written by transformers 4; transformers 5 uses other field names.
    #[test]
    fn rope_fields_of_transformers_4_and_5_parse_alike() {
        let rope = |fields: Value| {
            let mut raw = json!({
                "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 8,
            });
            let object = raw.as_object_mut().unwrap();
            object.extend(fields.as_object().unwrap().clone());
            DecoderConfig::parse(&raw, Path::new("config.json"))
                .unwrap()
                .rope
        };
        let llama3 = json!({
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        });
        let expected = RopeConfig {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192.0,
            },
        };
        let old = json!({"rope_theta": 500_000.0, "rope_scaling": llama3});
        assert_eq!(rope(old), expected);
        let mut new = llama3;
        new["rope_theta"] = json!(500_000.0);
        assert_eq!(rope(json!({"rope_parameters": new})), expected);
        let expected = RopeConfig {
            theta: 10_000.0,
            scaling: RopeScaling::Linear(4.0),
        };
        let linear = json!({"rope_scaling": {"type": "linear", "factor": 4.0}});
        assert_eq!(rope(linear), expected);
        let linear = json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0}});
        assert_eq!(rope(linear), expected);
        let plain = RopeConfig {
            theta: 1e6,
            scaling: RopeScaling::None,
        };
        assert_eq!(
            rope(json!({"rope_theta": 1e6, "rope_scaling": null})),
            plain
        );
        let new = json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
        assert_eq!(rope(new), plain);
    }

    #[test]
    fn unsupported_activation_and_quantization_are_rejected() {
        assert_eq!(refusal("hidden_act", json!("silu")), None);
        assert_eq!(refusal("hidden_act", Value::Null), None);
        let message = refusal("hidden_act", json!("gelu")).unwrap();
        assert!(
            message.contains("hidden_act must be \"silu\" (got \"gelu\")"),
            "{message}"
        );
        let message = refusal("quantization_config", json!({"quant_method": "fp8"})).unwrap();
        assert!(message.contains("quantised weights"), "{message}");
    }
}
