//! Decoder configuration: config.json of the families that are read, as transformers 4 and 5 write it.

use std::path::Path;

use serde_json::Value;

use super::family::Family;
use super::rope::{RopeConfig, RopeScaling};
use crate::files::ModelFiles;
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
    /// Which projections of a layer have a bias, in the order of [`super::PROJECTIONS`].
    pub projection_biases: [bool; 7],
    /// The rotary position embeddings of each layer.
    pub ropes: Vec<RopeConfig>,
    /// The sliding window of each layer, in tokens, the token itself included; `None` is full attention.
    pub sliding_windows: Vec<Option<usize>>,
    /// The factor that attention scores are multiplied by before the softmax: `head_dim^(-1/2)`, or Gemma's
    /// `query_pre_attn_scalar^(-1/2)`.
    pub attention_scale: f64,
    /// Soft cap of attention scores: `cap * tanh(score / cap)`; Gemma-2 only.
    pub attn_logit_softcap: Option<f64>,
    /// Soft cap of the LM head's logits; Gemma-2 only.
    pub final_logit_softcap: Option<f64>,
}

impl DecoderConfig {
    /// Reads config.json of a model.
    ///
    /// # Errors
    /// When the file is missing, the architecture is not supported, or a field is out of range.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let path = files.origin("config.json")?;
        let raw = files.read_json("config.json")?.unwrap_or_default();
        Self::parse(&raw, &path)
    }

    /// Parses and checks config.json; `path` is named in errors.
    fn parse(raw: &Value, path: &Path) -> Result<Self> {
        let fields = Fields { raw, path };
        let model_type = raw["model_type"].as_str().unwrap_or_default();
        let family = Family::of_model_type(model_type).ok_or_else(|| Error::Unknown {
            what: "architecture",
            given: format!("{model_type} of {}", path.display()),
            known: Family::known(),
        })?;
        fields.check_supported(family)?;
        let num_attention_heads = fields.count("num_attention_heads")?;
        let hidden_size = fields.count("hidden_size")?;
        let default_head_dim = family.default_head_dim();
        let default_head_dim = default_head_dim.unwrap_or(hidden_size / num_attention_heads);
        let head_dim = fields.count_or("head_dim", default_head_dim)?;
        let layers = 0..fields.count("num_hidden_layers")?;
        let kinds: Vec<LayerKind> = layers.map(|at| fields.kind(family, at)).collect();
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
                .unwrap_or(family.is_gemma()),
            projection_biases: fields.projection_biases(family),
            ropes: kinds
                .iter()
                .map(|kind| fields.rope(family, *kind))
                .collect::<Result<_>>()?,
            sliding_windows: kinds
                .iter()
                .map(|kind| fields.sliding_window(family, *kind))
                .collect(),
            attention_scale: if family.is_gemma() {
                fields.positive("query_pre_attn_scalar", Some(256.0))?
            } else {
                head_dim as f64
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

/// The kind of a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LayerKind {
    /// Attention to all earlier tokens: `full_attention`.
    Full,
    /// Attention within a sliding window, if the model has one: `sliding_attention`.
    Sliding,
}

impl LayerKind {
    /// The name in `layer_types` and `rope_parameters`.
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full_attention",
            Self::Sliding => "sliding_attention",
        }
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
        if self.raw["use_bidirectional_attention"].as_bool() == Some(true) {
            let message = "use_bidirectional_attention is true, which is not supported";
            return Err(self.wrong(message.to_owned()));
        }
        if !self.raw["quantization_config"].is_null() {
            let message = "has a quantization_config: quantised weights are not supported";
            return Err(self.wrong(message.to_owned()));
        }
        // transformers uses this field for Gemma and ignores `hidden_act`.
        let (field, supported) = if family.is_gemma() {
            ("hidden_activation", "gelu_pytorch_tanh")
        } else {
            ("hidden_act", "silu")
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

    /// The biases of a layer's projections: Qwen 2 always has those of queries, keys and values; in others
    /// `attention_bias` adds those and that of `o_proj`, and `mlp_bias` those of the MLP.
    fn projection_biases(&self, family: Family) -> [bool; 7] {
        let flag = |name: &str| self.raw[name].as_bool() == Some(true);
        let (attention, mlp) = (flag("attention_bias"), flag("mlp_bias"));
        let qkv = attention || family == Family::Qwen2;
        [qkv, qkv, qkv, attention, mlp, mlp, mlp]
    }

    /// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of transformers 4. In Gemma 3 each
    /// kind of layer has parameters of its own.
    fn rope(&self, family: Family, kind: LayerKind) -> Result<RopeConfig> {
        let of_kind = &self.raw["rope_parameters"][kind.name()];
        let new = if of_kind.is_object() {
            of_kind
        } else {
            &self.raw["rope_parameters"]
        };
        let local = family == Family::Gemma3 && kind == LayerKind::Sliding;
        let (theta, scaling) = if new.is_object() {
            let theta = Some(&new["rope_theta"]).filter(|theta| !theta.is_null());
            (theta.unwrap_or(&self.raw["rope_theta"]), new)
        } else if local {
            (&self.raw["rope_local_base_freq"], &Value::Null)
        } else {
            (&self.raw["rope_theta"], &self.raw["rope_scaling"])
        };
        let default_theta = if family == Family::Gemma3 && !local {
            1e6
        } else {
            1e4
        };
        let theta = theta.as_f64().unwrap_or(default_theta);
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

    /// The kind of a layer. Where config.json has no `layer_types`, Gemma 2 alternates the kinds, Gemma 3 has a full
    /// layer after every five sliding ones, Qwen's sliding layers follow the first `max_window_layers`, and in
    /// Mistral all layers slide.
    fn kind(&self, family: Family, layer: usize) -> LayerKind {
        let number = |name: &str, default: u64| self.raw[name].as_u64().unwrap_or(default) as usize;
        let slides = match self.raw["layer_types"][layer].as_str() {
            Some(kind) => kind == LayerKind::Sliding.name(),
            None => match family {
                Family::Llama => true,
                Family::Qwen2 | Family::Qwen3 => layer >= number("max_window_layers", 28),
                Family::Gemma2 => layer.is_multiple_of(2),
                Family::Gemma3 => !(layer + 1).is_multiple_of(number("sliding_window_pattern", 6)),
            },
        };
        if slides {
            LayerKind::Sliding
        } else {
            LayerKind::Full
        }
    }

    /// The sliding window of a layer of this kind, if the model has one. Qwen names a window that it does not use.
    fn sliding_window(&self, family: Family, kind: LayerKind) -> Option<usize> {
        let is_qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
        if is_qwen && self.raw["use_sliding_window"].as_bool() != Some(true) {
            return None;
        }
        let window = self.raw["sliding_window"].as_u64()? as usize;
        (kind == LayerKind::Sliding).then_some(window)
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
            let config = DecoderConfig::parse(&raw, Path::new("config.json")).unwrap();
            config.ropes[0]
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

    /// The layers of Gemma 3 as the hub's models name them (transformers 4) and as transformers 5 saves them.
    #[test]
    fn gemma_3_has_two_ropes_and_five_sliding_layers_to_a_full_one() {
        let parse = |fields: Value| {
            let mut raw = json!({
                "model_type": "gemma3_text", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_attention_heads": 2, "num_hidden_layers": 7, "max_position_embeddings": 8,
                "head_dim": 4, "sliding_window": 3, "query_pre_attn_scalar": 16,
            });
            let object = raw.as_object_mut().unwrap();
            object.extend(fields.as_object().unwrap().clone());
            DecoderConfig::parse(&raw, Path::new("config.json")).unwrap()
        };
        let linear = json!({"rope_type": "linear", "factor": 8.0});
        let old = parse(json!({
            "rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": linear,
        }));
        let mut kinds = vec!["sliding_attention"; 7];
        kinds[5] = "full_attention";
        let new = parse(json!({
            "layer_types": kinds,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
            },
        }));
        assert_eq!(old, new);
        for (layer, (rope, window)) in new.ropes.iter().zip(&new.sliding_windows).enumerate() {
            let (theta, scaling, size) = if layer == 5 {
                (5e5, RopeScaling::Linear(8.0), None)
            } else {
                (2e4, RopeScaling::None, Some(3))
            };
            assert_eq!(*rope, RopeConfig { theta, scaling });
            assert_eq!(*window, size);
        }
        assert_eq!((new.attention_scale, new.tie_word_embeddings), (0.25, true));
        let bare = parse(json!({}));
        assert_eq!((bare.ropes[0].theta, bare.ropes[5].theta), (1e4, 1e6));
    }

    #[test]
    fn windows_of_qwen_and_biases_follow_their_flags() {
        let parse = |model_type: &str, fields: Value| {
            let mut raw = json!({
                "model_type": model_type, "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_attention_heads": 2, "num_hidden_layers": 3, "max_position_embeddings": 8,
                "sliding_window": 5, "max_window_layers": 2,
            });
            let object = raw.as_object_mut().unwrap();
            object.extend(fields.as_object().unwrap().clone());
            DecoderConfig::parse(&raw, Path::new("config.json")).unwrap()
        };
        let plain = parse("qwen2", json!({"use_sliding_window": false}));
        assert_eq!(plain.sliding_windows, [None; 3]);
        let windowed = parse("qwen2", json!({"use_sliding_window": true}));
        assert_eq!(windowed.sliding_windows, [None, None, Some(5)]);
        let (qkv, all) = ([true, true, true, false, false, false, false], [true; 7]);
        assert_eq!(plain.projection_biases, qkv);
        let biased = json!({"attention_bias": true, "mlp_bias": true});
        assert_eq!(parse("llama", biased).projection_biases, all);
        let qwen3 = parse("qwen3", json!({}));
        assert_eq!((qwen3.head_dim, qwen3.projection_biases), (128, [false; 7]));
    }

    #[test]
    fn another_family_is_refused_by_name_with_those_that_are_read() {
        let message = refusal("model_type", json!("mamba")).unwrap();
        let known = "known are llama, mistral, qwen2, qwen3, gemma2, gemma3_text";
        assert!(
            message.contains("`mamba of config.json`") && message.contains(known),
            "{message}"
        );
        let message = refusal("use_bidirectional_attention", json!(true)).unwrap();
        assert!(message.contains("use_bidirectional_attention"), "{message}");
    }
}
