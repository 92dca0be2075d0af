//! Which adapter is in a PEFT folder? `adapter_config.json` and `adapter_model.safetensors`, as PEFT,
//! TRL and vLLM name them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::decoder::ops::linear;
use crate::decoder::{PROJECTIONS, Projection};
use crate::{Error, Result};
use polyphony_io::hash::fnv1a;
use polyphony_io::hash::sha256_file;

/// The file that says what adapters are like.
pub const CONFIG: &str = "adapter_config.json";
/// The file of their tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What adapters are like.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// The rank.
    pub r: usize,
    /// The scale is this over the rank.
    pub alpha: f64,
    /// Whether it is over the rank's square root instead (Kalajdzievski 2023).
    pub rslora: bool,
    /// Which products have one: the last part of their names, or `all-linear`.
    pub target_modules: Vec<String>,
    /// The model that they belong to.
    pub base: Option<String>,
    /// Its commit, where it is the hub's.
    pub revision: Option<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            alpha: 8.0,
            rslora: false,
            target_modules: vec!["q_proj".to_owned(), "v_proj".to_owned()],
            base: None,
            revision: None,
        }
    }
}

impl LoraConfig {
    /// What an adapter's term is multiplied by.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.alpha / if self.rslora { r.sqrt() } else { r }
    }

    /// The products that have one, by the last part of their names: a saved `all-linear` would be
    /// taken for a name.
    pub fn products(&self) -> Vec<&str> {
        let products = PROJECTIONS.iter().filter(|product| self.targets(product));
        products
            .filter_map(|product| product.rsplit('.').next())
            .collect()
    }

    /// Whether a product, `self_attn.q_proj`, has an adapter.
    pub fn targets(&self, product: &str) -> bool {
        self.target_modules
            .iter()
            .any(|target| names(target, product))
    }

    /// The products of so many layers that have one: `model.layers.N.self_attn.q_proj`.
    pub fn products_of(&self, layers: usize) -> Vec<String> {
        let of = |layer: usize| {
            let products = PROJECTIONS.iter().filter(|product| self.targets(product));
            products.map(move |product| format!("model.layers.{layer}.{product}"))
        };
        (0..layers).flat_map(of).collect()
    }

    /// The first target that is none of a decoder's products.
    pub fn unknown_target(&self) -> Option<&str> {
        let is_unknown =
            |target: &&String| !PROJECTIONS.iter().any(|product| names(target, product));
        self.target_modules
            .iter()
            .find(is_unknown)
            .map(String::as_str)
    }

    /// Reads a PEFT folder's config alone.
    ///
    /// # Errors
    /// When there is none, or it is of a kind that is not known here.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let config: Value = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("is no JSON ({error})");
            Error::input(&path, message, "name the folder of an adapter")
        })?;
        let refused = |message: &str| {
            Error::input(
                &path,
                message,
                "train one with `polyphony train`, or with PEFT's LoRA",
            )
        };
        if config["peft_type"] != "LORA" {
            return Err(refused("is no LoRA"));
        }
        for unknown in ["use_dora", "fan_in_fan_out", "lora_bias"] {
            if config[unknown].as_bool() == Some(true) {
                return Err(refused(&format!("says {unknown}, which is not known here")));
            }
        }
        for unknown in ["rank_pattern", "alpha_pattern"] {
            if config[unknown]
                .as_object()
                .is_some_and(|map| !map.is_empty())
            {
                return Err(refused(&format!(
                    "has a {unknown}, which is not known here"
                )));
            }
        }
        let target_modules = match &config["target_modules"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => {
                let names = several.iter().filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            }
            _ => return Err(refused("names no target_modules")),
        };
        let r = config["r"].as_u64().filter(|r| *r > 0);
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        Ok(Self {
            r: r.ok_or_else(|| refused("has no rank `r`"))? as usize,
            alpha: config["lora_alpha"]
                .as_f64()
                .ok_or_else(|| refused("has no lora_alpha"))?,
            rslora: config["use_rslora"].as_bool().unwrap_or(false),
            target_modules,
            base: text("base_model_name_or_path"),
            revision: text("revision"),
        })
    }
}

/// Whether a target stands for a product: by its whole name, the last part of it, or as one of all.
fn names(target: &str, product: &str) -> bool {
    target == "all-linear" || product == target || product.rsplit('.').next() == Some(target)
}

/// A product of a decoder: a weight, or a weight with an adapter's term beside it.
#[derive(Debug)]
pub enum LinearWeight {
    /// The weight alone, shape (out, in).
    Base(Tensor),
    /// The weight, and `A`, `B` and the scale of the term `scale B A`, in f32.
    WithLora(Tensor, Tensor, Tensor, f64),
}

impl Projection for LinearWeight {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Base(weight) => weight.forward(x),
            Self::WithLora(weight, a, b, scale) => {
                let low = linear(&x.to_dtype(DType::F32)?, a)?;
                let term = (linear(&low, b)? * *scale)?;
                weight.forward(x)? + term.to_dtype(x.dtype())?
            }
        }
    }
}

/// An adapter, read.
#[derive(Debug)]
pub struct Adapter {
    /// What it is like.
    pub lora_config: LoraConfig,
    file: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Adapter {
    /// Reads a PEFT folder.
    ///
    /// # Errors
    /// When it is none, or is of a kind that is not known here.
    pub fn read(folder: &Path) -> Result<Self> {
        let lora_config = LoraConfig::read(folder)?;
        let file = folder.join(WEIGHTS);
        if !file.is_file() {
            return Err(Error::input(
                folder,
                format!("lacks {WEIGHTS}"),
                "name a whole adapter",
            ));
        }
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu).map_err(|error| {
            let message = format!("cannot be read as weights ({error})");
            Error::input(&file, message, "fetch the adapter again")
        })?;
        Ok(Self {
            lora_config,
            file,
            tensors,
        })
    }

    /// One tensor, f32, on a device.
    ///
    /// # Errors
    /// When it is not there or of another shape.
    pub fn tensor(&self, name: &str, shape: [usize; 2], device: &Device) -> Result<Tensor> {
        let hint = "it was trained on another model: name its base with --model";
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::input(&self.file, format!("has no `{name}`"), hint));
        };
        if tensor.dims() != shape {
            let message = format!(
                "`{name}` has shape {:?}, the model has {shape:?}",
                tensor.dims()
            );
            return Err(Error::input(&self.file, message, hint));
        }
        Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
    }

    /// A product's weight with its adapter added, where it has one: `W + scale B A`, added in f32.
    ///
    /// # Errors
    /// When the adapter's shapes are not the weight's.
    pub fn merged(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some([a, b]) = self.term(name, &weight)? else {
            return Ok(weight);
        };
        let term = (b.matmul(&a)? * self.lora_config.scale())?;
        let sum = (weight.to_dtype(DType::F32)? + term)?;
        Ok(sum.to_dtype(weight.dtype())?)
    }

    /// A product's weight with its adapter beside it, where it has one.
    ///
    /// # Errors
    /// When the adapter's shapes are not the weight's.
    pub fn live(&self, name: &str, weight: Tensor) -> Result<LinearWeight> {
        Ok(match self.term(name, &weight)? {
            None => LinearWeight::Base(weight),
            Some([a, b]) => LinearWeight::WithLora(weight, a, b, self.lora_config.scale()),
        })
    }

    /// The tensors that a product asks for, by name.
    pub fn names(&self, name: &str) -> Vec<String> {
        let product = name.splitn(4, '.').last().unwrap_or_default();
        let parts = ["lora_A", "lora_B"];
        let parts = parts.iter().filter(|_| self.lora_config.targets(product));
        parts
            .map(|part| format!("base_model.model.{name}.{part}.weight"))
            .collect()
    }

    /// What its files hold: a hash.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn revision(&self) -> Result<String> {
        let weights = sha256_file(&self.file)?;
        let config = sha256_file(&self.file.with_file_name(CONFIG))?;
        Ok(format!(
            "{:016x}",
            fnv1a(format!("{weights}{config}").as_bytes())
        ))
    }

    /// `A` and `B` of a product that has an adapter.
    fn term(&self, name: &str, weight: &Tensor) -> Result<Option<[Tensor; 2]>> {
        let (out, into) = weight.dims2()?;
        let names = self.names(name);
        let [a, b] = names.as_slice() else {
            return Ok(None);
        };
        let device = weight.device();
        Ok(Some([
            self.tensor(a, [self.lora_config.r, into], device)?,
            self.tensor(b, [out, self.lora_config.r], device)?,
        ]))
    }

    /// Refuses tensors that nobody asked for: they would be lost in silence.
    ///
    /// # Errors
    /// When there is one.
    pub fn all_used(&self, names: &[String]) -> Result<()> {
        let mut extra: Vec<&String> = self.tensors.keys().filter(|k| !names.contains(k)).collect();
        extra.sort();
        match extra.first() {
            None => Ok(()),
            Some(name) => Err(Error::input(
                &self.file,
                format!("holds `{name}`, which the model has no place for"),
                "it was trained on another model: name its base with --model",
            )),
        }
    }
}
