//! LoRA adapter writer: a PEFT folder that PEFT, TRL and vLLM load.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::config::LoraConfig;
use super::names::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, SCORE_HEAD};
use crate::{Error, Result};
use polyphony_io::atomic::{write_atomic, write_json};

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
    write_tensors(&folder.join(ADAPTER_WEIGHTS_FILE), names, values)
}

/// Writes tensors in f32 as a safetensors file, sorted by name, with PyTorch's metadata.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(file: &Path, names: &[String], values: &[Tensor]) -> Result<()> {
    let mut bytes = Vec::with_capacity(values.len());
    for value in values {
        let value = value
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        bytes.push(
            value
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    }
    let failed = |error: safetensors::SafeTensorError| {
        Error::Internal(format!("{} cannot be serialised ({error})", file.display()))
    };
    let mut views = Vec::with_capacity(values.len());
    for ((name, value), bytes) in names.iter().zip(values).zip(&bytes) {
        let view = TensorView::new(Dtype::F32, value.dims().to_vec(), bytes).map_err(failed)?;
        views.push((name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let serialised = safetensors::serialize(views, Some(metadata)).map_err(failed)?;
    write_atomic(file, &serialised)
}
