//! LoRA adapter writer: a PEFT folder that PEFT, TRL and vLLM load.

use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::config::LoraConfig;
use super::names::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, SCORE_HEAD};
use super::tensor_file::{Metadata, write_tensors};
use crate::Result;
use polyphony_io::atomic::write_json;

/// The key, in the metadata of the weights, of the settings that scale them (see [`LoraConfig::scaling`]).
pub(super) const TRAINED_WITH: &str = "lora_scaling";

/// Writes `adapter_config.json` and `adapter_model.safetensors`: the tensors `values` in f32 under PEFT's
/// `names`. A reward model's head is among them.
///
/// # Errors
/// When a file cannot be written.
pub fn write_adapter(
    folder: &Path,
    config: &LoraConfig,
    names: &[String],
    values: &[Tensor],
) -> Result<()> {
    let has_score_head = names.iter().any(|name| name == SCORE_HEAD);
    // PEFT writes an integral alpha without a decimal point.
    let lora_alpha = if config.lora_alpha.fract() == 0.0 {
        json!(config.lora_alpha as i64)
    } else {
        json!(config.lora_alpha)
    };
    let adapter_config = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": config.base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": lora_alpha,
        "lora_dropout": 0.0,
        "modules_to_save": if has_score_head { json!(["classifier", "score"]) } else { Value::Null },
        "peft_type": "LORA",
        "r": config.r,
        "rank_pattern": {},
        "revision": config.revision,
        "target_modules": config.target_module_names(),
        "task_type": if has_score_head { "SEQ_CLS" } else { "CAUSAL_LM" },
        "use_dora": false,
        "use_rslora": config.use_rslora,
    });
    write_json(&folder.join(ADAPTER_CONFIG_FILE), &adapter_config)?;
    let metadata = Metadata::from([(TRAINED_WITH.to_owned(), config.scaling())]);
    write_tensors(&folder.join(ADAPTER_WEIGHTS_FILE), names, values, &metadata)
}
