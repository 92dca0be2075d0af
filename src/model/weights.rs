//! Model weights: tensors read from safetensors, PyTorch or GGUF files, with their shapes checked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::pickle::PthTensors;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};

use super::files::ModelFiles;
use super::gguf::GgufFile;
use super::memory;
use crate::{Error, Result};

/// The weights of a model; a tensor is read from disk when it is requested.
pub struct Weights {
    /// The file named in messages: the only weight file, or the index of several.
    file: PathBuf,
    tensors: Tensors,
    device: Device,
    precision: DType,
}

/// The opened weight files, by format.
enum Tensors {
    Safetensors(MmapedSafetensors),
    Pickled(Vec<PthTensors>),
    Gguf(Arc<GgufFile>),
}

/// File names of weights, in order of precedence.
pub(super) const CANDIDATES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

impl Weights {
    /// Opens the weights of a model, stored in one file or in several (sharded).
    ///
    /// # Errors
    /// When the model has no weights, or a file is not in the format of its extension.
    pub fn open(files: &ModelFiles, device: &Device, precision: DType) -> Result<Self> {
        if let Some(gguf) = files.gguf() {
            return Ok(Self {
                file: gguf.path().to_path_buf(),
                tensors: Tensors::Gguf(Arc::clone(gguf)),
                device: device.clone(),
                precision,
            });
        }
        let names = weight_files(files)?;
        let Some((first, shards)) = names.split_first() else {
            return Err(files.missing_file_error("model.safetensors or pytorch_model.bin"));
        };
        let file = files.require(first)?;
        let parts = match shards {
            [] => vec![file.clone()],
            shards => shards
                .iter()
                .map(|shard| files.require(shard))
                .collect::<Result<_>>()?,
        };
        let invalid = |error: candle_core::Error| {
            Error::input(
                &file,
                format!("cannot be read as weights ({})", first_line(&error)),
                "fetch the model again",
            )
        };
        let pickled = parts[0].extension().is_some_and(|end| end == "bin");
        let tensors = if pickled {
            let parts = parts.iter().map(|part| PthTensors::new(part, None));
            Tensors::Pickled(parts.collect::<candle_core::Result<_>>().map_err(invalid)?)
        } else {
            #[expect(unsafe_code, reason = "the files are mapped into memory")]
            // SAFETY: a model's files must not be changed while it is in use; the library checks every offset
            // against the file's length when it maps the file.
            let mapped = unsafe { MmapedSafetensors::multi(&parts) };
            Tensors::Safetensors(mapped.map_err(invalid)?)
        };
        Ok(Self {
            file,
            tensors,
            device: device.clone(),
            precision,
        })
    }

    /// Whether the model has a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The shape of a tensor; `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match &self.tensors {
            Tensors::Gguf(file) => file.shape(name),
            Tensors::Safetensors(mapped) => Some(mapped.get(name).ok()?.shape().to_vec()),
            Tensors::Pickled(parts) => {
                let info = parts
                    .iter()
                    .find_map(|part| part.tensor_infos().get(name))?;
                Some(info.layout.dims().to_vec())
            }
        }
    }

    /// Loads a tensor in the model's dtype, and checks its shape.
    ///
    /// # Errors
    /// When the tensor is missing, quantised or of another shape; the message names file, tensor and shapes.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(actual) = self.shape(name) else {
            return Err(Error::input(
                &self.file,
                format!("has no tensor `{name}`"),
                "its config.json belongs to another model: fetch the model again",
            ));
        };
        if actual != shape {
            return Err(Error::input(
                &self.file,
                format!("tensor `{name}` has shape {actual:?}, config.json says {shape:?}"),
                "its config.json belongs to another model: fetch the model again",
            ));
        }
        let loaded = match &self.tensors {
            Tensors::Gguf(file) => file.tensor(name, &self.device),
            Tensors::Safetensors(mapped) => mapped.load(name, &self.device),
            Tensors::Pickled(parts) => parts
                .iter()
                .find_map(|part| part.get(name).transpose())
                .unwrap_or_else(|| candle_core::bail!("no tensor {name}"))
                .and_then(|tensor| tensor.to_device(&self.device)),
        };
        // A quantised weight cannot be used without its scale, which is a tensor of its own.
        if let Ok(tensor) = &loaded
            && matches!(tensor.dtype(), DType::F8E4M3 | DType::U8)
        {
            return Err(Error::input(
                &self.file,
                format!("tensor `{name}` is quantised ({:?})", tensor.dtype()),
                "choose the model in bfloat16 or float32",
            ));
        }
        loaded
            .and_then(|tensor| tensor.to_dtype(self.precision)?.contiguous())
            .map_err(|error| self.unread(name, error))
    }

    /// The error for a tensor that failed to load: its file is corrupt, or the device is out of memory.
    fn unread(&self, name: &str, error: candle_core::Error) -> Error {
        if memory::is_oom(&error) {
            let size = || {
                let bytes = memory::mebibytes(self.values() * self.precision.size_in_bytes());
                format!(
                    "{} of {bytes} as {}",
                    self.file.display(),
                    self.precision.as_str()
                )
            };
            let hint = "free memory there, name a larger device, or choose a smaller model";
            return memory::oom_error(error.into(), &self.device, size, hint);
        }
        Error::input(
            &self.file,
            format!("tensor `{name}` cannot be read ({})", first_line(&error)),
            "fetch the model again",
        )
    }

    /// The number of values of all tensors: the number of parameters.
    fn values(&self) -> usize {
        match &self.tensors {
            Tensors::Gguf(file) => file.values(),
            Tensors::Safetensors(mapped) => {
                let tensors = mapped.tensors();
                let shapes = tensors.iter().map(|(_, tensor)| tensor.shape());
                shapes.map(|shape| shape.iter().product::<usize>()).sum()
            }
            Tensors::Pickled(parts) => {
                let infos = parts.iter().flat_map(|part| part.tensor_infos().values());
                infos.map(|info| info.layout.shape().elem_count()).sum()
            }
        }
    }
}

/// The weight files of a model: the first of [`CANDIDATES`] that exists and, if it is an index, the files that
/// it lists. Empty if the model has no weights.
///
/// # Errors
/// When an index is invalid.
pub(super) fn weight_files(files: &ModelFiles) -> Result<Vec<String>> {
    for name in CANDIDATES {
        if let Some(path) = files.find(name)? {
            let mut names = vec![name.to_owned()];
            if path.extension().is_some_and(|end| end == "json") {
                names.extend(shards(&path)?);
            }
            return Ok(names);
        }
    }
    Ok(Vec::new())
}

/// The files that an index lists.
fn shards(index: &std::path::Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read(index).map_err(Error::io("read", index))?;
    let invalid = || Error::input(index, "is no index of weights", "fetch the model again");
    let index: serde_json::Value = serde_json::from_slice(&text).map_err(|_| invalid())?;
    let map = index["weight_map"].as_object().ok_or_else(invalid)?;
    let shards: BTreeSet<String> = map
        .values()
        .filter_map(|file| Some(file.as_str()?.to_owned()))
        .collect();
    if shards.is_empty() {
        return Err(invalid());
    }
    Ok(shards)
}

/// The first line of an error: candle appends a backtrace on further lines.
fn first_line(error: &candle_core::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn out_of_memory_errors_name_the_size_of_the_weights() {
        for (model, values) in [("tied_llama", 18_592), ("style_roberta", 92_064)] {
            let files = ModelFiles::find_model(&fixtures::model(model)).unwrap();
            let weights = Weights::open(&files, &Device::Cpu, DType::BF16).unwrap();
            assert_eq!(weights.values(), values, "{model}");
            let full = candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".to_owned());
            let message = weights.unread("x", full).to_string();
            let size = format!(" of {} as bf16", memory::mebibytes(values * 2));
            assert!(
                message.contains("too little memory for") && message.contains(&size),
                "{message}"
            );
            let broken = candle_core::Error::Msg("unexpected end".to_owned());
            let message = weights.unread("x", broken).to_string();
            assert!(
                message.contains("`x` cannot be read (unexpected end)"),
                "{message}"
            );
        }
    }
}
