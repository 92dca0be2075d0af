//! Which numbers does a run go by? Flags over a TOML file over the method's presets.

use std::path::{Path, PathBuf};

use candle_core::DType;
use clap::Args;
use polyphony_io::{Error, Result};
use polyphony_model::device::DeviceSpec;
use polyphony_model::lora::LoraConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::Overlength;
use crate::loss::{dpo, reward};
use crate::objective::{DorpoForm, Method, Objective};
use crate::optimizer::AdamW;
use crate::schedule::Schedule;

/// What a run can be told: each a flag, and a field of the TOML file with underscores.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is trained for: a field alone, as a run's own `config.toml` has it.
    #[arg(skip)]
    pub method: Option<Method>,
    /// The model that learns: a folder or a hub id `OWNER/NAME[@REVISION]`
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What it learns from: a Parquet or JSON lines file, as `polyphony pairs` writes it; sft also
    /// takes prompt and response, reward takes prompt, response and score
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    /// Where the adapter, its metrics and checkpoints go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The PEFT adapter to start from, as SFT made it [default: a fresh one]
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// dpo, ddpo: what the policy is compared with: init (as it starts), base (without adapter), or
    /// the folder of an adapter [default: init]
    #[arg(long, value_name = "init|base|DIR")]
    pub reference: Option<String>,
    /// Where the reference's log-probabilities are kept; another run with the same pairs, model and
    /// reference takes them from there [default: OUT/reference.csv]
    #[arg(long, value_name = "FILE")]
    pub reference_logps: Option<PathBuf>,
    /// The rank of a fresh adapter [default: 128; reward: 16]
    #[arg(long, value_name = "N")]
    pub lora_r: Option<usize>,
    /// Its alpha: its term is multiplied by alpha / rank [default: 256; reward: 32]
    #[arg(long, value_name = "X")]
    pub lora_alpha: Option<f64>,
    /// Multiply it by alpha / sqrt(rank) instead
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub rslora: Option<bool>,
    /// Which products a fresh adapter is beside, by commas, or all-linear [default: those of
    /// queries and values]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub target_modules: Option<Vec<String>>,
    /// dpo, ddpo: how far the policy may stray from its reference [default: 0.1]
    #[arg(long, value_name = "X")]
    pub beta: Option<f64>,
    /// orpo, dorpo: how much the odds count beside the likelihood [default: 0.25]
    #[arg(long, value_name = "X")]
    pub lambda: Option<f64>,
    /// dpo, ddpo: sigmoid, ipo or hinge [default: sigmoid]
    #[arg(long, value_name = "KIND", value_parser = by_name::<dpo::Kind>)]
    pub loss: Option<dpo::Kind>,
    /// dpo, ddpo: how often a pair is the wrong way round [default: 0]
    #[arg(long, value_name = "X")]
    pub label_smoothing: Option<f64>,
    /// dorpo: weighted (a pair's loss times its weight), or reference (as the published code)
    /// [default: weighted]
    #[arg(long, value_name = "FORM", value_parser = by_name::<DorpoForm>)]
    pub dorpo_form: Option<DorpoForm>,
    /// sft: learn the prompts' tokens, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub on_prompts: Option<bool>,
    /// reward: l1 (of votes, from prompt, response and score), or `bradley_terry` (of pairs)
    /// [default: l1]
    #[arg(long, value_name = "KIND", value_parser = by_name::<reward::Kind>)]
    pub reward_loss: Option<reward::Kind>,
    /// reward: learn scores as they are, not as votes that are brought into the range -1 to 1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub raw_scores: Option<bool>,
    /// The learning rate [default: 5e-6; sft, reward: 3e-5]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// How it changes: constant, linear or cosine [default: linear; sft: cosine]
    #[arg(long, value_name = "SCHEDULE", value_parser = by_name::<Schedule>)]
    pub schedule: Option<Schedule>,
    /// cosine: how much of a whole turn it goes through [default: 0.5; sft: 0.25, ending at half]
    #[arg(long, value_name = "X")]
    pub cosine_cycles: Option<f64>,
    /// Steps in which it rises from 0, or, below 1, their share of all [default: 0; sft: 500]
    #[arg(long, value_name = "X")]
    pub warmup: Option<f64>,
    /// By how much values shrink a step, times the learning rate [default: 0]
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// AdamW's first beta [default: 0.9]
    #[arg(long, value_name = "X")]
    pub adam_beta1: Option<f64>,
    /// AdamW's second beta [default: 0.999]
    #[arg(long, value_name = "X")]
    pub adam_beta2: Option<f64>,
    /// AdamW's epsilon [default: 1e-8]
    #[arg(long, value_name = "X")]
    pub adam_eps: Option<f64>,
    /// The most that the gradients' norm may be; 0 clips nothing [default: 1]
    #[arg(long, value_name = "X")]
    pub max_grad_norm: Option<f64>,
    /// Pairs a step [default: 12, which is what the paper's six devices made]
    #[arg(long, value_name = "N")]
    pub batch_pairs: Option<usize>,
    /// A step takes as many pairs as fit so many tokens, instead
    #[arg(long, value_name = "N", conflicts_with = "batch_pairs")]
    pub batch_tokens: Option<usize>,
    /// So many tokens go through the model at a time: what memory has to hold [default: 1024 on the
    /// CPU, 16384 on a GPU]
    #[arg(long, value_name = "N")]
    pub micro_batch_tokens: Option<usize>,
    /// The longest text, in tokens [default: 2048]
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// What becomes of longer ones: drop or truncate [default: drop]
    #[arg(long, value_name = "WHAT", value_parser = by_name::<Overlength>)]
    pub too_long: Option<Overlength>,
    /// Take the pairs in their order in the file
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub no_shuffle: Option<bool>,
    /// How often each pair is seen [default: 3; sft: 1; orpo, dorpo: 4]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Stop after so many steps, whatever the epochs
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Where chance begins [default: 42]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// cpu, cuda:0 (in bf16) or cuda:0:f32 [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Compute activations anew on the way back: less memory, a third more time
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub recompute: Option<bool>,
    /// Evaluate on the pairs of the split `validation` or `test` every so many steps, and at the end
    /// [default: 100]
    #[arg(long, value_name = "STEPS")]
    pub eval_every: Option<usize>,
    /// So many of those pairs are evaluated, spread evenly over all of them; 0: all
    /// [default: 512, reward: all]
    #[arg(long, value_name = "N")]
    pub eval_pairs: Option<usize>,
    /// Write a checkpoint every so many steps [default: 100]
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<usize>,
    /// Write one after so many minutes, however many steps that was [default: 10]
    #[arg(long, value_name = "MINUTES")]
    pub checkpoint_minutes: Option<f64>,
    /// How many checkpoints are kept [default: 2]
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<usize>,
}

/// All of [`Settings`], settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of Settings")]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct Config {
    pub method: Method,
    pub model: String,
    pub pairs: PathBuf,
    pub out: PathBuf,
    pub adapter: Option<PathBuf>,
    pub reference: String,
    pub reference_logps: Option<PathBuf>,
    pub lora_r: usize,
    pub lora_alpha: f64,
    pub rslora: bool,
    pub target_modules: Vec<String>,
    pub beta: f64,
    pub lambda: f64,
    pub loss: dpo::Kind,
    pub label_smoothing: f64,
    pub dorpo_form: DorpoForm,
    pub on_prompts: bool,
    pub reward_loss: reward::Kind,
    pub raw_scores: bool,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub cosine_cycles: f64,
    pub warmup: f64,
    pub weight_decay: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_eps: f64,
    pub max_grad_norm: f64,
    pub batch_pairs: Option<usize>,
    pub batch_tokens: Option<usize>,
    pub micro_batch_tokens: usize,
    pub max_length: usize,
    pub too_long: Overlength,
    pub no_shuffle: bool,
    pub epochs: usize,
    pub steps: Option<usize>,
    pub seed: u64,
    pub device: String,
    pub recompute: bool,
    pub eval_every: usize,
    pub eval_pairs: usize,
    pub checkpoint_every: usize,
    pub checkpoint_minutes: f64,
    pub keep_checkpoints: usize,
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or has a field that is not known.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            let message = error
                .message()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let message = format!("line {line}: {message}");
            Error::input(
                file,
                message,
                "`polyphony train METHOD --help` lists the fields",
            )
        })
    }

    /// These settings, over those of a file, over the method's presets.
    ///
    /// # Errors
    /// When the model, the pairs or the place for the adapter is missing, a number is impossible, or
    /// two contradict each other.
    pub fn resolve(&self, file: Option<&Self>, method: Method) -> Result<Config> {
        let mut all = Map::new();
        let device = self
            .device
            .as_ref()
            .or(file.and_then(|file| file.device.as_ref()));
        let on_gpu = device.is_some_and(|device| device.starts_with("cuda"));
        let mut preset = Self::preset(method, on_gpu);
        let adapter = self
            .adapter
            .as_ref()
            .or(file.and_then(|file| file.adapter.as_ref()));
        let adapter = adapter
            .map(|folder| Ok::<_, Error>((folder, LoraConfig::read(folder)?)))
            .transpose()?;
        if let Some((_, lora_config)) = &adapter {
            preset.lora_r = Some(lora_config.r);
            preset.lora_alpha = Some(lora_config.alpha);
            preset.rslora = Some(lora_config.rslora);
            preset.target_modules = Some(lora_config.target_modules.clone());
        }
        for settings in [Some(&preset), file, Some(self)].into_iter().flatten() {
            if settings.batch_pairs.is_some() && settings.batch_tokens.is_some() {
                let hint = "give one of them";
                return Err(contradiction("batch_pairs and batch_tokens", hint));
            }
            if settings.method.is_some_and(|named| named != method) {
                let hint = "name the method that the file has, or another file";
                return Err(contradiction("the method and that of --config", hint));
            }
            // What a layer says is not undone by what one below it says instead.
            if settings.batch_pairs.is_some() || settings.batch_tokens.is_some() {
                all.remove("batch_pairs");
                all.remove("batch_tokens");
            }
            if settings.epochs.is_some() {
                all.remove("steps");
            }
            if let Ok(Value::Object(fields)) = serde_json::to_value(settings) {
                all.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
            }
        }
        for (field, flag) in [("model", "--model"), ("pairs", "--pairs"), ("out", "--out")] {
            if !all.contains_key(field) {
                return Err(Error::input(
                    format!("train {}", method.name()),
                    format!("needs to be told {flag}"),
                    "give it as a flag, or in a file named with --config",
                ));
            }
        }
        if let Ok(method) = serde_json::to_value(method) {
            all.insert("method".to_owned(), method);
        }
        let mut config: Config = serde_json::from_value(Value::Object(all)).map_err(|error| {
            Error::input("train", format!("{error}"), "`--help` shows what there is")
        })?;
        config.check()?;
        config.device = place(&config.device)?.to_string();
        if let Some((folder, lora_config)) = adapter {
            let given = config.lora_config();
            if (given.r, given.alpha, given.rslora, given.products())
                != (
                    lora_config.r,
                    lora_config.alpha,
                    lora_config.rslora,
                    lora_config.products(),
                )
            {
                let message =
                    "has another rank, alpha, rslora or other target modules than are set";
                let hint = "leave those out: an adapter brings its own";
                return Err(Error::input(folder, message, hint));
            }
        }
        Ok(config)
    }
}

/// The device that a name stands for, of those that can be trained on.
fn place(name: &str) -> Result<DeviceSpec> {
    let place = DeviceSpec::named(name)?;
    if place.precision() == DType::F16 {
        return Err(Error::Device {
            name: name.to_owned(),
            message: "gradients are lost in f16, which holds none below 6e-8".to_owned(),
            hint: "train in bf16 or f32: --device cuda:0, or cuda:0:f32".to_owned(),
        });
    }
    Ok(place)
}

fn contradiction(what: &str, hint: &str) -> Error {
    Error::input(&what, "contradict each other", hint)
}

impl Config {
    fn check(&self) -> Result<()> {
        let counts = [
            ("lora_r", self.lora_r),
            ("batch_pairs", self.batch_pairs.unwrap_or(1)),
            ("batch_tokens", self.batch_tokens.unwrap_or(1)),
            ("micro_batch_tokens", self.micro_batch_tokens),
            ("epochs", self.epochs),
            ("steps", self.steps.unwrap_or(1)),
            ("eval_every", self.eval_every),
            ("checkpoint_every", self.checkpoint_every),
            ("keep_checkpoints", self.keep_checkpoints),
        ];
        let least = [
            ("beta", self.beta, f64::MIN_POSITIVE),
            ("lambda", self.lambda, 0.0),
            ("label_smoothing", self.label_smoothing, 0.0),
            ("learning_rate", self.learning_rate, 0.0),
            ("lora_alpha", self.lora_alpha, f64::MIN_POSITIVE),
            ("cosine_cycles", self.cosine_cycles, 0.0),
            ("warmup", self.warmup, 0.0),
            ("weight_decay", self.weight_decay, 0.0),
            ("max_grad_norm", self.max_grad_norm, 0.0),
            ("adam_eps", self.adam_eps, 0.0),
            ("checkpoint_minutes", self.checkpoint_minutes, 0.0),
        ];
        let shares = [
            ("adam_beta1", self.adam_beta1),
            ("adam_beta2", self.adam_beta2),
            ("label_smoothing", 2.0 * self.label_smoothing),
        ];
        let wrong = counts
            .iter()
            .find(|(_, n)| *n == 0)
            .map(|(name, _)| (*name, "must be 1 or more"));
        let wrong = wrong.or_else(|| {
            let low = least
                .iter()
                .find(|(_, x, least)| !x.is_finite() || x < least);
            low.map(|(name, _, _)| (*name, "is below what it can be"))
        });
        let wrong = wrong.or_else(|| {
            let high = shares.iter().find(|(_, x)| !(0.0..1.0).contains(x));
            high.map(|(name, _)| (*name, "is above what it can be"))
        });
        let wrong =
            wrong.or_else(|| (self.max_length < 2).then_some(("max_length", "must be 2 or more")));
        if self.label_smoothing > 0.0 && self.loss != dpo::Kind::Sigmoid {
            let hint = "leave label_smoothing out: loss sigmoid alone knows it";
            return Err(contradiction("loss and label_smoothing", hint));
        }
        match wrong {
            None => Ok(()),
            Some((name, message)) => {
                let hint = "`--help` shows what it means";
                Err(Error::input(&name, message, hint))
            }
        }
    }

    /// What a fresh adapter is like.
    pub fn lora_config(&self) -> LoraConfig {
        LoraConfig {
            r: self.lora_r,
            alpha: self.lora_alpha,
            rslora: self.rslora,
            target_modules: self.target_modules.clone(),
            ..LoraConfig::default()
        }
    }

    /// The method with its numbers.
    pub fn objective(&self) -> Objective {
        Objective {
            method: self.method,
            beta: self.beta,
            lambda: self.lambda,
            kind: self.loss,
            label_smoothing: self.label_smoothing,
            form: self.dorpo_form,
            on_prompts: self.on_prompts,
            reward: self.reward_loss,
        }
    }

    /// The optimiser's numbers.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            eps: self.adam_eps,
            weight_decay: self.weight_decay,
        }
    }

    /// In how many steps the learning rate rises.
    pub fn warmup_steps(&self, steps: usize) -> usize {
        if self.warmup < 1.0 {
            (self.warmup * steps as f64).ceil() as usize
        } else {
            self.warmup as usize
        }
    }

    /// The config as TOML.
    pub fn toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

/// Reads a choice by the name that TOML has for it; the message lists the choices.
fn by_name<T: serde::de::DeserializeOwned>(given: &str) -> std::result::Result<T, String> {
    serde_json::from_value(Value::String(given.to_owned())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(&format!("model = 'm'\npairs = 'p'\nout = 'o'\n{toml}")).unwrap()
    }

    fn resolved(flags: &str, file: &str) -> Result<Config> {
        let file = toml::from_str(file).unwrap();
        settings(flags).resolve(Some(&file), Method::Ddpo)
    }

    #[test]
    fn flags_go_before_the_file() {
        let batch = |flags: &str, file: &str| {
            let config = resolved(flags, file).unwrap();
            (config.batch_pairs, config.batch_tokens)
        };
        assert_eq!(batch("", ""), (Some(12), None));
        assert_eq!(batch("", "batch_tokens = 9"), (None, Some(9)));
        assert_eq!(
            batch("batch_pairs = 5", "batch_tokens = 9"),
            (Some(5), None)
        );
        assert_eq!(
            batch("batch_tokens = 9", "batch_pairs = 5"),
            (None, Some(9))
        );
        let length = |flags: &str, file: &str| {
            let config = resolved(flags, file).unwrap();
            (config.epochs, config.steps)
        };
        assert_eq!(length("", "steps = 9"), (3, Some(9)));
        assert_eq!(length("epochs = 2", "steps = 9"), (2, None));
        assert_eq!(length("steps = 9", "epochs = 2"), (2, Some(9)));
    }

    #[test]
    fn contradictions_are_refused() {
        for (file, known) in [
            (
                "batch_pairs = 5\nbatch_tokens = 9",
                "batch_pairs and batch_tokens",
            ),
            ("method = 'dpo'", "the method and that of --config"),
            (
                "loss = 'ipo'\nlabel_smoothing = 0.1",
                "loss and label_smoothing",
            ),
        ] {
            let said = resolved("", file).unwrap_err().to_string();
            assert!(said.contains(known), "{said}");
        }
    }

    #[test]
    fn a_written_config_is_read_again() {
        let adapter = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/models/llama/adapter"
        );
        for flags in ["", "batch_tokens = 9", &format!("adapter = '{adapter}'")] {
            let config = resolved(flags, "").unwrap();
            let file: Settings = toml::from_str(&config.toml()).unwrap();
            let again = Settings::default().resolve(Some(&file), Method::Ddpo);
            assert_eq!(again.unwrap(), config);
        }
        let config = resolved(&format!("adapter = '{adapter}'"), "").unwrap();
        assert_eq!(config.lora_r, 4);
        let other = resolved(&format!("lora_r = 8\nadapter = '{adapter}'"), "");
        let said = other.unwrap_err().to_string();
        assert!(said.contains("has another rank"), "{said}");
    }
}
