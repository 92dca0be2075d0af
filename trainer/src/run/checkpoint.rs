//! Checkpoints: the complete training state after a step (counters, adapter, AdamW moments) in a folder,
//! written atomically.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use polyphony_io::atomic::sync_folder;
use polyphony_io::checksum::{parse_checked, write_json_checked};
use polyphony_io::{Error, Result};
use polyphony_model::lora::{ADAPTER_WEIGHTS_FILE, LoraConfig};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use crate::optim::adamw::Moments;
use polyphony_model::lora::{Metadata, read_tensors, write_adapter, write_tensors};

/// Counters after a step. The order of the data follows from the random seed and the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps so far.
    pub step: usize,
    /// Tokens that went through the model so far.
    pub num_tokens: u64,
    /// Examples seen so far, those that were skipped included.
    pub num_examples: usize,
    /// The fingerprint of the run, see [`super::manifest::RunManifest`].
    pub fingerprint: String,
}

impl Counters {
    /// The counters of a run before its first step.
    pub fn new(fingerprint: &str) -> Self {
        Self {
            step: 0,
            num_tokens: 0,
            num_examples: 0,
            fingerprint: fingerprint.to_owned(),
        }
    }
}

/// The trainable parameters and the optimizer's state.
#[derive(Debug)]
pub struct TrainState<'a> {
    /// The parameters' names, as in PEFT.
    pub names: &'a [String],
    /// The parameters, in the order of `names`.
    pub values: &'a [Tensor],
    /// AdamW's moments.
    pub moments: &'a Moments,
}

const STATE_FILE: &str = "state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";

/// The folder of all checkpoints of a run.
fn folder(out: &Path) -> PathBuf {
    out.join("checkpoints")
}

/// The folder of the checkpoint after a step.
pub fn checkpoint_dir(out: &Path, step: usize) -> PathBuf {
    folder(out).join(format!("step-{step:08}"))
}

/// Writes a checkpoint, then removes all but the latest `total_limit`.
///
/// # Errors
/// When a file cannot be written; earlier checkpoints stay.
#[instrument(name = "checkpoint", level = "debug", skip_all, fields(step = counters.step))]
pub fn save(
    out: &Path,
    counters: &Counters,
    lora_config: &LoraConfig,
    state: &TrainState<'_>,
    total_limit: usize,
) -> Result<()> {
    let target = checkpoint_dir(out, counters.step);
    let partial = folder(out).join(format!(".step-{:08}", counters.step));
    // A step may save twice: before its evaluation, and as scheduled.
    if target.is_dir() {
        return Ok(());
    }
    if partial.is_dir() {
        fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
    }
    write_adapter(&partial, lora_config, state.names, state.values)?;
    let named = |moments: &[Tensor], prefix: &str| -> Vec<(String, Tensor)> {
        let named = state.names.iter().zip(moments);
        named
            .map(|(name, tensor)| (format!("{prefix}.{name}"), tensor.clone()))
            .collect()
    };
    let mut all_moments = named(&state.moments.first, "first");
    all_moments.extend(named(&state.moments.second, "second"));
    let (names, tensors): (Vec<String>, Vec<Tensor>) = all_moments.into_iter().unzip();
    let metadata = Metadata::new();
    write_tensors(&partial.join(OPTIMIZER_FILE), &names, &tensors, &metadata)?;
    write_json_checked(&partial.join(STATE_FILE), counters)?;
    // A rename is atomic: a checkpoint under its final name is complete.
    fs::rename(&partial, &target)
        .and_then(|()| sync_folder(&target))
        .map_err(Error::io("rename", &partial))?;
    let mut all = list(out);
    while all.len() > total_limit {
        let oldest = all.remove(0);
        fs::remove_dir_all(&oldest).map_err(Error::io("remove", &oldest))?;
    }
    Ok(())
}

/// The complete checkpoints of a run, oldest first.
fn list(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(out)).into_iter().flatten().flatten();
    let mut checkpoints: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("step-") && path.join(STATE_FILE).is_file()
        })
        .collect();
    checkpoints.sort();
    checkpoints
}

/// Removes partial checkpoints, which a killed run leaves behind.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_partial(out: &Path) -> Result<()> {
    let entries = fs::read_dir(folder(out)).into_iter().flatten().flatten();
    for partial in entries.filter(|e| e.file_name().to_string_lossy().starts_with(".step-")) {
        fs::remove_dir_all(partial.path()).map_err(Error::io("remove", &partial.path()))?;
    }
    Ok(())
}

/// The counters, parameters and moments of the latest checkpoint, if there is one. `names` and `values` are
/// the parameters of the model in memory, which give the shapes and the device.
///
/// # Errors
/// When it cannot be read, or belongs to another run or to parameters of other shapes.
pub fn load_latest(
    out: &Path,
    fingerprint: &str,
    names: &[String],
    values: &[Tensor],
) -> Result<Option<(Counters, Vec<Tensor>, Moments)>> {
    let Some(folder) = list(out).pop() else {
        return Ok(None);
    };
    let unreadable = |cause: String| {
        let hint = "remove it: the run resumes from the checkpoint before";
        Error::input(&folder, format!("cannot be read ({cause})"), hint)
    };
    let text = fs::read(folder.join(STATE_FILE)).map_err(Error::io("read", &folder))?;
    let (counters, _): (Counters, _) = parse_checked(&text).map_err(unreadable)?;
    if counters.fingerprint != fingerprint {
        let hint = "remove it, or choose another --out";
        return Err(Error::input(&folder, "belongs to another run", hint));
    }
    let load = |file: &str| {
        let tensors = read_tensors(&folder.join(file)).map(|(tensors, _)| tensors);
        tensors.map_err(|error| unreadable(error.to_string()))
    };
    let (adapter, moments) = (load(ADAPTER_WEIGHTS_FILE)?, load(OPTIMIZER_FILE)?);
    let pick = |from: &std::collections::HashMap<String, Tensor>, prefix: &str| {
        let tensor_of = |(name, value): (&String, &Tensor)| -> Result<Tensor> {
            let tensor = from.get(&format!("{prefix}{name}"));
            let tensor = tensor.filter(|tensor| tensor.dims() == value.dims());
            let missing = || unreadable(format!("no {prefix}{name} of shape {:?}", value.dims()));
            let tensor = tensor.ok_or_else(missing)?;
            Ok(tensor.to_dtype(DType::F32)?.to_device(value.device())?)
        };
        let all = names.iter().zip(values);
        all.map(tensor_of).collect::<Result<Vec<Tensor>>>()
    };
    let moments = Moments {
        steps: counters.step,
        first: pick(&moments, "first.")?,
        second: pick(&moments, "second.")?,
    };
    Ok(Some((counters, pick(&adapter, "")?, moments)))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn other_runs_and_shapes_are_errors_and_partial_checkpoints_are_removed() {
        let out = tempfile::tempdir().unwrap();
        let tensor = |rows: usize| Tensor::zeros((rows, 2), DType::F32, &Device::Cpu).unwrap();
        let names = ["base_model.model.a".to_owned()];
        let values = [tensor(3)];
        let moments = Moments::new(&values).unwrap();
        let counters = Counters {
            step: 1,
            ..Counters::new("one")
        };
        let state = TrainState {
            names: &names,
            values: &values,
            moments: &moments,
        };
        save(out.path(), &counters, &LoraConfig::default(), &state, 2).unwrap();
        let load = |fingerprint: &str, rows: usize| {
            load_latest(out.path(), fingerprint, &names, &[tensor(rows)])
        };
        assert_eq!(load("one", 3).unwrap().unwrap().0, counters);
        let message = load("two", 3).unwrap_err().to_string();
        assert!(message.contains("belongs to another run"), "{message}");
        let message = load("one", 4).unwrap_err().to_string();
        assert!(
            message.contains("no first.base_model.model.a of shape [4, 2]"),
            "{message}"
        );
        let partial = folder(out.path()).join(".step-00000002");
        fs::create_dir(&partial).unwrap();
        remove_partial(out.path()).unwrap();
        assert!(!partial.exists());
    }
}
