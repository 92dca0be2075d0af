//! How is an adapter written, so that PEFT, TRL and vLLM read it?

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use polyphony_io::atomic::write_atomic;
use polyphony_io::{Error, Result};
use polyphony_model::lora::{CONFIG, LoraConfig, WEIGHTS};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// Writes a PEFT folder: f32, keys sorted; of a reward model with its head.
///
/// # Errors
/// When a file cannot be written.
pub fn write(
    folder: &Path,
    lora_config: &LoraConfig,
    names: &[String],
    values: &[Tensor],
) -> Result<()> {
    let scores = names.iter().any(|name| name.ends_with("score.weight"));
    let config = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": lora_config.base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": if lora_config.alpha.fract() == 0.0 { json!(lora_config.alpha as i64) } else { json!(lora_config.alpha) },
        "lora_dropout": 0.0,
        "modules_to_save": if scores { json!(["classifier", "score"]) } else { Value::Null },
        "peft_type": "LORA",
        "r": lora_config.r,
        "rank_pattern": {},
        "revision": lora_config.revision,
        "target_modules": lora_config.products(),
        "task_type": if scores { "SEQ_CLS" } else { "CAUSAL_LM" },
        "use_dora": false,
        "use_rslora": lora_config.rslora,
    });
    let text = serde_json::to_string_pretty(&config).unwrap_or_default();
    write_atomic(&folder.join(CONFIG), text.as_bytes())?;
    write_tensors(&folder.join(WEIGHTS), names, values)
}

/// Writes f32 tensors under names, as safetensors that PyTorch reads.
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
    let refused = |error: safetensors::SafeTensorError| {
        Error::input(file, format!("cannot be written ({error})"), "report it")
    };
    let mut views = Vec::with_capacity(values.len());
    for ((name, value), bytes) in names.iter().zip(values).zip(&bytes) {
        let view = TensorView::new(Dtype::F32, value.dims().to_vec(), bytes).map_err(refused)?;
        views.push((name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let whole = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
    write_atomic(file, &whole)
}
