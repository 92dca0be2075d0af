//! LoRA configuration: `adapter_config.json` of PEFT (`LoraConfig`).

use std::path::Path;

use serde_json::Value;

use super::names::{ADAPTER_CONFIG_FILE, module_path};
use crate::decoder::PROJECTIONS;
use crate::files::is_hub_id;
use crate::{Error, Result};

/// PEFT's name for all linear layers except the output head.
const ALL_LINEAR: &str = "all-linear";

/// The hyperparameters of a LoRA adapter. Fields are named as in PEFT.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// LoRA rank, at least 1.
    pub r: usize,
    /// LoRA alpha: the numerator of the scale.
    pub lora_alpha: f64,
    /// rsLoRA: whether the scale is `lora_alpha / sqrt(r)` (Kalajdzievski 2023) instead of `lora_alpha / r`.
    pub use_rslora: bool,
    /// Target modules: the last part of a projection's name, as `q_proj`, or `all-linear`.
    pub target_modules: Vec<String>,
    /// The base model: a hub id or a folder (PEFT: `base_model_name_or_path`).
    pub base_model: Option<String>,
    /// The commit of the base model, if it is a hub id.
    pub revision: Option<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            use_rslora: false,
            target_modules: vec!["q_proj".to_owned(), "v_proj".to_owned()],
            base_model: None,
            revision: None,
        }
    }
}

impl LoraConfig {
    /// The scale: the factor of `B A`, `lora_alpha / r` or `lora_alpha / sqrt(r)`.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// The settings that scale the weights, as text: a change of them changes the model.
    pub(super) fn scaling(&self) -> String {
        let Self {
            r,
            lora_alpha,
            use_rslora,
            ..
        } = self;
        format!("r {r}, lora_alpha {lora_alpha}, use_rslora {use_rslora}")
    }

    /// Whether a projection, for example `self_attn.q_proj`, has an adapter.
    pub fn targets(&self, projection: &str) -> bool {
        self.target_modules
            .iter()
            .any(|target| matches_target(target, projection))
    }

    /// The last parts of the names of all projections with an adapter. These are saved as `target_modules`,
    /// because PEFT would read a saved `all-linear` as a module name.
    pub fn target_module_names(&self) -> Vec<&str> {
        let targeted = PROJECTIONS
            .iter()
            .filter(|projection| self.targets(projection));
        targeted
            .filter_map(|projection| projection.rsplit('.').next())
            .collect()
    }

    /// The paths of all modules with an adapter in a decoder with this many layers, for example
    /// `model.layers.0.self_attn.q_proj`.
    pub fn module_paths(&self, layers: usize) -> Vec<String> {
        let of_layer = |layer: usize| {
            let targeted = PROJECTIONS
                .iter()
                .filter(|projection| self.targets(projection));
            targeted.map(move |projection| module_path(layer, projection))
        };
        (0..layers).flat_map(of_layer).collect()
    }

    /// The first target that matches no projection of a decoder, if any.
    pub fn unknown_target(&self) -> Option<&str> {
        let is_unknown = |target: &&String| {
            !PROJECTIONS
                .iter()
                .any(|projection| matches_target(target, projection))
        };
        self.target_modules
            .iter()
            .find(is_unknown)
            .map(String::as_str)
    }

    /// The base model in the form that is loaded: a folder, or `OWNER/NAME@COMMIT`.
    pub fn base_model_ref(&self) -> Option<String> {
        let base = self.base_model.as_ref()?;
        match &self.revision {
            Some(revision) if is_hub_id(base) => Some(format!("{base}@{revision}")),
            _ => Some(base.clone()),
        }
    }

    /// Reads `adapter_config.json` of a PEFT folder.
    ///
    /// # Errors
    /// When the file is missing, does not describe a LoRA adapter, or has an unsupported setting.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ADAPTER_CONFIG_FILE);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let config: Value = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("is not valid JSON ({error})");
            Error::input(&path, message, "name the folder of an adapter")
        })?;
        let unsupported = |message: String| {
            let hint = "train an adapter with `polyphony train`, or with LoRA in PEFT";
            Error::input(&path, message, hint)
        };
        if config["peft_type"] != "LORA" {
            let peft_type = &config["peft_type"];
            return Err(unsupported(format!(
                "peft_type must be \"LORA\" (got {peft_type})"
            )));
        }
        for flag in ["use_dora", "fan_in_fan_out", "lora_bias"] {
            if config[flag].as_bool() == Some(true) {
                return Err(unsupported(format!(
                    "{flag} is true, which is not supported"
                )));
            }
        }
        for pattern in ["rank_pattern", "alpha_pattern"] {
            let map = config[pattern].as_object();
            if map.is_some_and(|map| !map.is_empty()) {
                return Err(unsupported(format!(
                    "{pattern} is set, which is not supported"
                )));
            }
        }
        let target_modules = match &config["target_modules"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => {
                let names = several.iter().filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            }
            _ => return Err(unsupported("has no target_modules".to_owned())),
        };
        let r = config["r"].as_u64().filter(|r| *r > 0);
        let r = r.ok_or_else(|| unsupported(format!("r must be >= 1 (got {})", config["r"])))?;
        let lora_alpha = config["lora_alpha"].as_f64().ok_or_else(|| {
            unsupported(format!(
                "lora_alpha must be a number (got {})",
                config["lora_alpha"]
            ))
        })?;
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        Ok(Self {
            r: r as usize,
            lora_alpha,
            use_rslora: config["use_rslora"].as_bool().unwrap_or(false),
            target_modules,
            base_model: text("base_model_name_or_path"),
            revision: text("revision"),
        })
    }
}

/// Whether a target matches a projection: by its full name, its last part, or `all-linear`.
fn matches_target(target: &str, projection: &str) -> bool {
    target == ALL_LINEAR || projection == target || projection.rsplit('.').next() == Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_by_last_part_full_name_or_all_linear() {
        let config = |targets: &[&str]| LoraConfig {
            target_modules: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..LoraConfig::default()
        };
        let short = config(&["v_proj", "mlp.up_proj"]);
        assert_eq!(short.target_module_names(), ["v_proj", "up_proj"]);
        let paths = [
            "model.layers.0.self_attn.v_proj",
            "model.layers.0.mlp.up_proj",
        ];
        assert_eq!(short.module_paths(1), paths);
        assert_eq!(config(&[ALL_LINEAR]).module_paths(2).len(), 14);
        assert_eq!(config(&["v_proj", "proj"]).unknown_target(), Some("proj"));
        assert_eq!(short.unknown_target(), None);
    }

    #[test]
    fn rslora_divides_by_the_root_of_the_rank() {
        let config = LoraConfig {
            r: 16,
            lora_alpha: 8.0,
            ..LoraConfig::default()
        };
        assert_eq!(config.scale(), 0.5);
        let config = LoraConfig {
            use_rslora: true,
            ..config
        };
        assert_eq!(config.scale(), 2.0);
    }
}
