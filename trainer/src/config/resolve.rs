//! Resolution: flags over the TOML file over an adapter's own configuration over the method's defaults.

use std::path::Path;

use candle_core::DType;
use polyphony_io::{Error, Result};
use polyphony_model::device::DeviceSpec;
use polyphony_model::lora::LoraConfig;

use super::settings::{Config, Settings};
use crate::loss::dpo::DpoLoss;
use crate::loss::objective::DorpoForm;
use crate::method::Method;

/// A TOML file of settings.
#[derive(Debug, Clone, Copy)]
pub struct ConfigFile<'a> {
    /// The path, for error messages.
    pub path: &'a Path,
    /// The settings that the file contains.
    pub settings: &'a Settings,
}

impl Settings {
    /// Reads settings from a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or has an unknown field or a value of a wrong type.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            // The first line names the problem; the others list all valid fields.
            let message = error.message().lines().next().unwrap_or_default();
            let hint = "`polyphony train METHOD --help` lists the fields";
            Error::input(file, format!("line {line}: {message}"), hint)
        })
    }

    /// The configuration of a run: these settings, from flags, over those of a file.
    ///
    /// # Errors
    /// When a required option is missing, a number is out of its bounds, or two options conflict.
    pub fn resolve(&self, file: Option<ConfigFile<'_>>, method: Method) -> Result<Config> {
        let mut settings = self.clone();
        settings.check_conflicts("flags")?;
        if let Some(file) = file {
            let name = file.path.display().to_string();
            file.settings.check_conflicts(&name)?;
            if let Some(other) = file.settings.method.filter(|other| *other != method) {
                return Err(Error::config(
                    format!("train {}", method.name()),
                    format!("conflicts with method = \"{}\" in {name}", other.name()),
                    "use the file's method, or another file",
                ));
            }
            settings = settings.over(file.settings.clone());
        }
        let adapter = match &settings.adapter {
            Some(folder) => Some((folder.clone(), LoraConfig::read(folder)?)),
            None => None,
        };
        if let Some((_, lora_config)) = &adapter {
            // An adapter's shape is fixed: its configuration fills in the LoRA options that are not set.
            settings = settings.over(Self {
                lora_r: Some(lora_config.r),
                lora_alpha: Some(lora_config.lora_alpha),
                use_rslora: Some(lora_config.use_rslora),
                target_modules: Some(lora_config.target_modules.clone()),
                ..Self::default()
            });
        }
        if settings.batch_size.is_none() && settings.batch_tokens.is_none() {
            settings.batch_size = Some(if method == Method::Reward { 24 } else { 12 });
        }
        let device = settings.device.as_deref().unwrap_or_default();
        let on_gpu = device.starts_with("cuda");
        let mut config = settings.complete(method, on_gpu).map_err(|missing| {
            Error::config(
                format!("train {}", method.name()),
                format!("--{missing} is required"),
                "set the flag, or the field of the file of --config",
            )
        })?;
        config.check_bounds()?;
        config.check_loss()?;
        config.device = training_device(&config.device)?.to_string();
        if let Some((folder, lora_config)) = adapter {
            check_adapter(&folder, &lora_config, &config.lora_config())?;
        }
        Ok(config)
    }

    /// These settings over `lower`. Alternatives exclude each other: a batch size in these replaces either kind
    /// of batch size in `lower`, and a number of epochs replaces a number of steps.
    fn over(self, mut lower: Self) -> Self {
        if self.batch_size.is_some() || self.batch_tokens.is_some() {
            (lower.batch_size, lower.batch_tokens) = (None, None);
        }
        if self.num_train_epochs.is_some() {
            lower.max_steps = None;
        }
        self.or(lower)
    }

    /// Checks for options that exclude each other; `source` is the file or the flags, for the error.
    fn check_conflicts(&self, source: &str) -> Result<()> {
        match (self.batch_size, self.batch_tokens) {
            (Some(examples), Some(tokens)) => Err(Error::config(
                format!("batch_size = {examples}"),
                format!("conflicts with batch_tokens = {tokens} in {source}"),
                "set one of them",
            )),
            _ => Ok(()),
        }
    }
}

impl Config {
    /// Checks for options of the loss that have no effect together, or on the method.
    fn check_loss(&self) -> Result<()> {
        if self.label_smoothing > 0.0 && self.loss_type != DpoLoss::Sigmoid {
            return Err(Error::config(
                "--label-smoothing",
                format!("conflicts with --loss-type {}", self.loss_type.name()),
                "use it with --loss-type sigmoid, or leave it out",
            ));
        }
        if self.sft_weight > 0.0 && !self.method.has_reference() {
            return Err(Error::config(
                "--sft-weight",
                format!(
                    "has no effect on {} (got {})",
                    self.method.name(),
                    self.sft_weight
                ),
                "use it with dpo or ddpo, or leave it out",
            ));
        }
        let Some(device_batch_size) = self.per_device_train_batch_size else {
            return Ok(());
        };
        let is_orpo = matches!(self.method, Method::Orpo | Method::Dorpo);
        let has_means = self.sft_weight > 0.0 || is_orpo && self.dorpo_form == DorpoForm::Reference;
        if !has_means {
            return Err(Error::config(
                "--per-device-train-batch-size",
                format!(
                    "has no effect without --sft-weight or --dorpo-form reference (got {device_batch_size})"
                ),
                "use --batch-size for the examples a step, or --micro-batch-tokens for memory",
            ));
        }
        match self.batch_size {
            Some(batch_size) if !batch_size.is_multiple_of(device_batch_size) => {
                Err(Error::config(
                    "--batch-size",
                    format!(
                        "must be a multiple of --per-device-train-batch-size {device_batch_size} (got {batch_size})"
                    ),
                    "change one of them",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Parses a device name and checks that training supports its number type (f32, bf16).
fn training_device(name: &str) -> Result<DeviceSpec> {
    let device = DeviceSpec::parse(name)?;
    if device.dtype() == DType::F16 {
        return Err(Error::Device {
            name: name.to_owned(),
            message: "gradients below 6e-8 underflow in f16".to_owned(),
            hint: "train in bf16 or f32: --device cuda:0, or cuda:0:f32".to_owned(),
        });
    }
    Ok(device)
}

/// Checks that an adapter to start from has the LoRA options that are set in flags or file.
fn check_adapter(folder: &Path, adapter: &LoraConfig, set: &LoraConfig) -> Result<()> {
    let differences: Vec<String> = [
        ("--lora-r", adapter.r.to_string(), set.r.to_string()),
        (
            "--lora-alpha",
            adapter.lora_alpha.to_string(),
            set.lora_alpha.to_string(),
        ),
        (
            "--use-rslora",
            adapter.use_rslora.to_string(),
            set.use_rslora.to_string(),
        ),
        (
            "--target-modules",
            adapter.target_module_names().join(","),
            set.target_module_names().join(","),
        ),
    ]
    .into_iter()
    .filter(|(_, has, set)| has != set)
    .map(|(flag, has, set)| format!("{flag} {set} (it has {has})"))
    .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("conflicts with {}", differences.join(", "));
    let hint = "leave these out: an adapter has its own";
    Err(Error::input(folder, message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(&format!("model = 'm'\ndata = 'p'\nout = 'o'\n{toml}")).unwrap()
    }

    fn resolve(flags: &str, file: &str) -> Result<Config> {
        let file = toml::from_str(file).unwrap();
        let file = ConfigFile {
            path: Path::new("run.toml"),
            settings: &file,
        };
        settings(flags).resolve(Some(file), Method::Ddpo)
    }

    #[test]
    fn flags_override_the_file() {
        let batch = |flags: &str, file: &str| {
            let config = resolve(flags, file).unwrap();
            (config.batch_size, config.batch_tokens)
        };
        assert_eq!(batch("", ""), (Some(12), None));
        assert_eq!(batch("", "batch_tokens = 9"), (None, Some(9)));
        assert_eq!(batch("batch_size = 5", "batch_tokens = 9"), (Some(5), None));
        assert_eq!(batch("batch_tokens = 9", "batch_size = 5"), (None, Some(9)));
        let length = |flags: &str, file: &str| {
            let config = resolve(flags, file).unwrap();
            (config.num_train_epochs, config.max_steps)
        };
        assert_eq!(length("", "max_steps = 9"), (3, Some(9)));
        assert_eq!(length("num_train_epochs = 2", "max_steps = 9"), (2, None));
        assert_eq!(
            length("max_steps = 9", "num_train_epochs = 2"),
            (2, Some(9))
        );
    }

    #[test]
    fn conflicts_name_both_sides() {
        for (file, expected) in [
            (
                "batch_size = 5\nbatch_tokens = 9",
                "batch_size = 5: conflicts with batch_tokens = 9 in run.toml",
            ),
            (
                "method = 'dpo'",
                "train ddpo: conflicts with method = \"dpo\" in run.toml",
            ),
            (
                "loss_type = 'ipo'\nlabel_smoothing = 0.1",
                "--label-smoothing: conflicts with --loss-type ipo",
            ),
            (
                "per_device_train_batch_size = 2",
                "--per-device-train-batch-size: has no effect without --sft-weight or --dorpo-form reference (got 2)",
            ),
            (
                "per_device_train_batch_size = 5\nsft_weight = 0.1",
                "--batch-size: must be a multiple of --per-device-train-batch-size 5 (got 12)",
            ),
        ] {
            let message = resolve("", file).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_written_config_resolves_to_itself() {
        let adapter = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/models/llama/adapter"
        );
        for flags in ["", "batch_tokens = 9", &format!("adapter = '{adapter}'")] {
            let config = resolve(flags, "").unwrap();
            let written: Settings = toml::from_str(&config.to_toml().unwrap()).unwrap();
            let file = ConfigFile {
                path: Path::new("config.toml"),
                settings: &written,
            };
            let again = Settings::default().resolve(Some(file), Method::Ddpo);
            assert_eq!(again.unwrap(), config);
        }
        let config = resolve(&format!("adapter = '{adapter}'"), "").unwrap();
        assert_eq!(config.lora_r, 4);
        let other = resolve(&format!("lora_r = 8\nadapter = '{adapter}'"), "");
        let message = other.unwrap_err().to_string();
        assert!(message.contains("--lora-r 8 (it has 4)"), "{message}");
    }
}
