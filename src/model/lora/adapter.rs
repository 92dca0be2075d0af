//! LoRA adapter reader: a PEFT folder with its tensors, checked against the base model.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::apply::{LinearWeight, LoraFactors};
use super::config::LoraConfig;
use super::names::{
    ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, SCORE_HEAD, factor_names, projection_of,
};
use super::tensor_file::read_tensors;
use super::write::TRAINED_WITH;
use crate::decoder::Head;
use crate::{Error, Result};
use polyphony_io::hash::{fnv1a, sha256_file};

/// The hint of errors about tensors that do not match the model.
const BASE_MODEL_MISMATCH: &str =
    "the adapter belongs to another base model: name that with --model";

/// A LoRA adapter, with its tensors in memory.
#[derive(Debug)]
pub struct Adapter {
    /// The configuration, from `adapter_config.json`.
    pub config: LoraConfig,
    /// The factor of the update `B A` besides that of the configuration; 1 is the adapter as it was trained.
    scale: f64,
    file: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Adapter {
    /// Reads a PEFT folder.
    ///
    /// # Errors
    /// When a file is missing or invalid, or the adapter has a setting that is not supported.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = LoraConfig::read(folder)?;
        let file = folder.join(ADAPTER_WEIGHTS_FILE);
        if !file.is_file() {
            return Err(Error::input(
                folder,
                format!("has no {ADAPTER_WEIGHTS_FILE}"),
                "name the folder of a complete adapter",
            ));
        }
        let (tensors, metadata) = read_tensors(&file)?;
        let now = config.scaling();
        if let Some(trained) = metadata
            .get(TRAINED_WITH)
            .filter(|trained| **trained != now)
        {
            return Err(Error::input(
                folder.join(ADAPTER_CONFIG_FILE),
                format!("says {now}, but the weights were trained with {trained}"),
                "restore it; --adapter-scale scales an adapter",
            ));
        }
        Ok(Self {
            config,
            scale: 1.0,
            file,
            tensors,
        })
    }

    /// The same adapter with its update `B A` multiplied by `scale` (PEFT: `set_scale`). 0 is the base model, 1
    /// the adapter as it was trained; between them the weights are interpolated, above 1 extrapolated
    /// (arXiv 2510.17426).
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// A tensor of the adapter, in f32, on the device; an error if it is missing or not of that shape.
    fn tensor(&self, name: &str, shape: [usize; 2], device: &Device) -> Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::input(
                &self.file,
                format!("has no tensor `{name}`"),
                BASE_MODEL_MISMATCH,
            ));
        };
        if tensor.dims() != shape {
            let actual = tensor.dims();
            let message =
                format!("tensor `{name}` has shape {actual:?}, the model needs {shape:?}");
            return Err(Error::input(&self.file, message, BASE_MODEL_MISMATCH));
        }
        Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
    }

    /// The factors A and B, in f32, of a module whose weight has shape (out, in); `None` for a module without
    /// an adapter.
    ///
    /// # Errors
    /// When a factor is missing or has another shape.
    pub fn factors(
        &self,
        module_path: &str,
        (out, into): (usize, usize),
        device: &Device,
    ) -> Result<Option<LoraFactors>> {
        if !self.config.targets(projection_of(module_path)) {
            return Ok(None);
        }
        let [a, b] = factor_names(module_path);
        Ok(Some(LoraFactors {
            a: self.tensor(&a, [self.config.r, into], device)?,
            b: self.tensor(&b, [out, self.config.r], device)?,
            scale: self.config.scale() * self.scale,
        }))
    }

    /// The reward head saved with the adapter of a reward model, shape (1, H), in f32.
    ///
    /// # Errors
    /// When the adapter has no reward head, or one of another shape.
    pub fn score_head(&self, hidden_size: usize, device: &Device) -> Result<Tensor> {
        self.tensor(SCORE_HEAD, [1, hidden_size], device)
    }

    /// A module's weight, shape (out, in), with its adapter merged; unchanged without an adapter or at scale 0.
    ///
    /// # Errors
    /// When the adapter's shapes do not match the weight.
    pub fn merge(&self, module_path: &str, weight: Tensor) -> Result<Tensor> {
        match self.factors(module_path, weight.dims2()?, weight.device())? {
            Some(factors) if factors.scale != 0.0 => Ok(factors.merge(&weight)?),
            _ => Ok(weight),
        }
    }

    /// A module's weight, shape (out, in), with its adapter stored separately (unmerged); the weight alone
    /// without an adapter or at scale 0.
    ///
    /// # Errors
    /// When the adapter's shapes do not match the weight.
    pub fn unmerged(&self, module_path: &str, weight: Tensor) -> Result<LinearWeight> {
        Ok(
            match self.factors(module_path, weight.dims2()?, weight.device())? {
                Some(factors) if factors.scale != 0.0 => LinearWeight::WithLora(weight, factors),
                _ => LinearWeight::Base(weight),
            },
        )
    }

    /// A hash of the adapter's files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn revision(&self) -> Result<String> {
        let weights = sha256_file(&self.file)?;
        let config = sha256_file(&self.file.with_file_name(ADAPTER_CONFIG_FILE))?;
        Ok(format!(
            "{:016x}",
            fnv1a(format!("{weights}{config}").as_bytes())
        ))
    }

    /// Rejects an adapter with tensors that a decoder with this many layers and this head does not use.
    ///
    /// # Errors
    /// When there is such a tensor: it would be ignored silently.
    pub fn refuse_unused(&self, layers: usize, head: Head) -> Result<()> {
        let paths = self.config.module_paths(layers);
        let mut used: HashSet<String> = paths.iter().flat_map(|path| factor_names(path)).collect();
        if head == Head::Score {
            used.insert(SCORE_HEAD.to_owned());
        }
        let unused = self.tensors.keys().filter(|name| !used.contains(*name));
        match unused.min() {
            None => Ok(()),
            Some(name) => Err(Error::input(
                &self.file,
                format!("has a tensor `{name}`, which the model does not use"),
                BASE_MODEL_MISMATCH,
            )),
        }
    }
}
