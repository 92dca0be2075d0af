//! What survives when a run dies? A folder with all that the next step needs, there as a whole or
//! not at all.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use polyphony_io::atomic::write_atomic;
use polyphony_io::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::optimizer::Moments;
use crate::peft;
use polyphony_model::lora::LoraConfig;

/// Where a run stands between two steps. The order of the data follows from its seed and step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// How many steps were made.
    pub step: usize,
    /// How many tokens were seen.
    pub num_tokens: u64,
    /// How many pairs were seen.
    pub num_pairs: usize,
    /// The run that it belongs to.
    pub fingerprint: String,
}

/// What learns, and what the optimiser remembers of it.
#[derive(Debug)]
pub struct TrainState<'a> {
    /// PEFT's names.
    pub names: &'a [String],
    /// The values.
    pub values: &'a [Tensor],
    /// The moments.
    pub moments: &'a Moments,
}

const STATE: &str = "state.json";
const OPTIMIZER: &str = "optimizer.safetensors";

fn folder(out: &Path) -> PathBuf {
    out.join("checkpoints")
}

/// Where the checkpoint after a step lies.
pub fn at(out: &Path, step: usize) -> PathBuf {
    folder(out).join(format!("step-{step:08}"))
}

/// Writes a checkpoint, then removes all but the last `keep`.
///
/// # Errors
/// When a file cannot be written; the checkpoints before stay.
pub fn write(
    out: &Path,
    state: &State,
    lora_config: &LoraConfig,
    held: &TrainState<'_>,
    keep: usize,
) -> Result<()> {
    let done = at(out, state.step);
    let begun = folder(out).join(format!(".step-{:08}", state.step));
    if done.is_dir() {
        return Ok(());
    }
    if begun.is_dir() {
        fs::remove_dir_all(&begun).map_err(Error::io("remove", &begun))?;
    }
    peft::write(&begun, lora_config, held.names, held.values)?;
    let moments = |moments: &[Tensor], which: &str| -> Vec<(String, Tensor)> {
        let named = held.names.iter().zip(moments);
        named
            .map(|(name, tensor)| (format!("{which}.{name}"), tensor.clone()))
            .collect()
    };
    let mut all_moments = moments(&held.moments.first, "first");
    all_moments.extend(moments(&held.moments.second, "second"));
    let (names, tensors): (Vec<String>, Vec<Tensor>) = all_moments.into_iter().unzip();
    peft::write_tensors(&begun.join(OPTIMIZER), &names, &tensors)?;
    let text = serde_json::to_string_pretty(state).unwrap_or_default();
    write_atomic(&begun.join(STATE), text.as_bytes())?;
    fs::rename(&begun, &done).map_err(Error::io("rename", &begun))?;
    let mut older = list(out);
    while older.len() > keep {
        let oldest = older.remove(0);
        fs::remove_dir_all(&oldest).map_err(Error::io("remove", &oldest))?;
    }
    Ok(())
}

/// The whole checkpoints of a run, oldest first.
fn list(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(out)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("step-") && path.join(STATE).is_file()
        })
        .collect();
    found.sort();
    found
}

/// Removes what kills left of checkpoints that were not whole.
///
/// # Errors
/// When it cannot be removed.
pub fn sweep(out: &Path) -> Result<()> {
    let entries = fs::read_dir(folder(out)).into_iter().flatten().flatten();
    for begun in entries.filter(|e| e.file_name().to_string_lossy().starts_with(".step-")) {
        fs::remove_dir_all(begun.path()).map_err(Error::io("remove", &begun.path()))?;
    }
    Ok(())
}

/// The newest checkpoint: where the run stood, the values and the moments; none where there is none.
/// `values` are those that learn, by their `names`.
///
/// # Errors
/// When it cannot be read, or belongs to another run or to values of other shapes.
pub fn newest(
    out: &Path,
    fingerprint: &str,
    names: &[String],
    values: &[Tensor],
) -> Result<Option<(State, Vec<Tensor>, Moments)>> {
    let Some(folder) = list(out).pop() else {
        return Ok(None);
    };
    let broken = |what: String| {
        let hint = "remove it: the run goes on from the checkpoint before";
        Error::input(&folder, format!("cannot be read ({what})"), hint)
    };
    let text = fs::read(folder.join(STATE)).map_err(Error::io("read", &folder))?;
    let state: State = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
    if state.fingerprint != fingerprint {
        let hint = "remove it, or choose another --out";
        return Err(Error::input(&folder, "belongs to another run", hint));
    }
    let load = |file: &str| {
        candle_core::safetensors::load(folder.join(file), &Device::Cpu)
            .map_err(|error| broken(error.to_string()))
    };
    let (kept, moments) = (load("adapter_model.safetensors")?, load(OPTIMIZER)?);
    let pick = |from: &std::collections::HashMap<String, Tensor>, prefix: &str| {
        let one = |(name, value): (&String, &Tensor)| -> Result<Tensor> {
            let tensor = from.get(&format!("{prefix}{name}"));
            let tensor = tensor.filter(|tensor| tensor.dims() == value.dims());
            let lacks = || broken(format!("there is no {prefix}{name} of {:?}", value.dims()));
            let tensor = tensor.ok_or_else(lacks)?;
            Ok(tensor.to_dtype(DType::F32)?.to_device(value.device())?)
        };
        let all = names.iter().zip(values);
        all.map(one).collect::<Result<Vec<Tensor>>>()
    };
    let moments = Moments {
        steps: state.step,
        first: pick(&moments, "first.")?,
        second: pick(&moments, "second.")?,
    };
    Ok(Some((state, pick(&kept, "")?, moments)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_run_goes_on_from_it() {
        let out = tempfile::tempdir().unwrap();
        let tensor = |rows: usize| Tensor::zeros((rows, 2), DType::F32, &Device::Cpu).unwrap();
        let names = ["base_model.model.a".to_owned()];
        let values = [tensor(3)];
        let moments = Moments::new(&values).unwrap();
        let state = State {
            step: 1,
            num_tokens: 1,
            num_pairs: 1,
            fingerprint: "one".to_owned(),
        };
        let held = TrainState {
            names: &names,
            values: &values,
            moments: &moments,
        };
        write(out.path(), &state, &LoraConfig::default(), &held, 2).unwrap();
        let newest = |fingerprint: &str, rows: usize| {
            newest(out.path(), fingerprint, &names, &[tensor(rows)])
        };
        assert_eq!(newest("one", 3).unwrap().unwrap().0, state);
        let said = newest("two", 3).unwrap_err().to_string();
        assert!(said.contains("belongs to another run"), "{said}");
        let said = newest("one", 4).unwrap_err().to_string();
        assert!(
            said.contains("there is no first.base_model.model.a of [4, 2]"),
            "{said}"
        );
        let begun = folder(out.path()).join(".step-00000002");
        fs::create_dir(&begun).unwrap();
        sweep(out.path()).unwrap();
        assert!(!begun.exists());
    }
}
