//! Run manifest: hashes of all inputs that a run's result depends on, dataset counts, version.

use std::fs;
use std::path::Path;

use polyphony_io::hash::{Sha256, hex, sha256_file, sha256_parts};
use polyphony_io::{Error, Result};
use polyphony_model::chat::PromptCompletion;
use polyphony_model::files::ModelFiles;
use polyphony_model::lora::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, Adapter};
use serde::{Deserialize, Serialize};

use super::loss_plot::LOSS_PLOT_FILE;
use super::metrics_log::METRICS_FILE;
use super::reference::ReferenceModel;
use crate::config::Config;
use crate::data::counts::DatasetCounts;
use crate::data::example::{Examples, hash_tokens};
use crate::data::weight_stats::WeightStats;

/// The manifest's file in the folder of a run.
pub const MANIFEST_FILE: &str = "run.json";
/// The file with the run's complete configuration, in the folder of a run.
pub const CONFIG_FILE: &str = "config.toml";

/// The files that a run writes after its manifest.
const OUTPUTS: [&str; 5] = [
    CONFIG_FILE,
    ADAPTER_CONFIG_FILE,
    ADAPTER_WEIGHTS_FILE,
    METRICS_FILE,
    LOSS_PLOT_FILE,
];

/// The manifest of a run, which makes it repeatable; written next to its adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// The version of polyphony.
    pub polyphony: String,
    /// The model's revision: the hub's commit, or a hash of its files.
    pub model_revision: String,
    /// The SHA-256 of the dataset's file.
    pub data_sha256: String,
    /// The SHA-256 of the examples' tokens, which also depend on tokenizer, template and limits.
    pub tokens_sha256: String,
    /// The SHA-256 of the adapter that training starts from.
    pub adapter_sha256: Option<String>,
    /// The SHA-256 of the reference model's adapter, if it has one of its own.
    pub reference_sha256: Option<String>,
    /// The numbers of rows that are trained on, held out, dropped, truncated or duplicates.
    #[serde(default)]
    pub rows: DatasetCounts,
    /// The weights of the training pairs, for methods with weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightStats>,
    /// A hash of the hashes above and of the hyperparameters that change the result.
    pub fingerprint: String,
}

impl RunManifest {
    /// The manifest of a run of a model on examples.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(config: &Config, files: &ModelFiles, examples: &Examples) -> Result<Self> {
        let reference = ReferenceModel::parse(&config.reference);
        let reference_sha256 = match &reference {
            ReferenceModel::Adapter(folder) if config.method.has_reference() => {
                Some(adapter_sha256(folder)?)
            }
            _ => None,
        };
        let mut manifest = Self {
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            model_revision: files.revision()?,
            data_sha256: sha256_file(&config.data)?,
            tokens_sha256: tokens_sha256(examples),
            adapter_sha256: config.adapter.as_deref().map(adapter_sha256).transpose()?,
            reference_sha256,
            rows: DatasetCounts::new(examples),
            weights: (config.method.is_weighted()).then(|| WeightStats::new(&examples.train)),
            fingerprint: String::new(),
        };
        // The fingerprint has only what changes the result: not paths, nor the frequency of checkpoints and of
        // sampled texts.
        let mut relevant = config.clone().without_watch();
        relevant.model.clear();
        relevant.out = "".into();
        relevant.data = "".into();
        relevant.adapter = None;
        if manifest.reference_sha256.is_some() {
            relevant.reference.clear();
        }
        relevant.reference_logps = None;
        relevant.save_steps = 1;
        relevant.save_minutes = 1.0;
        relevant.save_total_limit = 1;
        // Recomputed activations equal the stored ones bit for bit.
        relevant.gradient_checkpointing = false;
        manifest.fingerprint = hash(&[
            &relevant.to_toml()?,
            &manifest.model_revision,
            &manifest.data_sha256,
            &manifest.tokens_sha256,
            manifest.adapter_sha256.as_deref().unwrap_or_default(),
            manifest.reference_sha256.as_deref().unwrap_or_default(),
        ]);
        Ok(manifest)
    }

    /// A hash of all inputs that the reference model's log-probabilities depend on.
    pub fn reference_fingerprint(&self, config: &Config) -> String {
        // A new adapter's B is zero: the initial policy is the base model.
        let adapter = match ReferenceModel::parse(&config.reference) {
            ReferenceModel::Init => self.adapter_sha256.as_deref(),
            ReferenceModel::Base => None,
            ReferenceModel::Adapter(_) => self.reference_sha256.as_deref(),
        };
        hash(&[
            &self.model_revision,
            &self.data_sha256,
            &self.tokens_sha256,
            adapter.unwrap_or_default(),
            &config.device,
        ])
    }

    /// Checks that an output folder is empty or has the same run.
    ///
    /// # Errors
    /// When it has another run, or a configuration that no run wrote.
    pub fn check_out_dir(&self, out: &Path) -> Result<()> {
        let Ok(text) = fs::read(out.join(MANIFEST_FILE)) else {
            let others = OUTPUTS.into_iter().find(|name| out.join(name).exists());
            let Some(other) = others else {
                return Ok(());
            };
            let message = format!("contains a {other} that no run wrote");
            let hint = "choose another --out, or move that file";
            return Err(Error::input(out, message, hint));
        };
        let before: Option<Self> = serde_json::from_slice(&text).ok();
        let difference = match before {
            Some(before) if before.fingerprint == self.fingerprint => return Ok(()),
            Some(before) if before.data_sha256 != self.data_sha256 => "on other data",
            Some(before) if before.model_revision != self.model_revision => "of another model",
            Some(before) if before.adapter_sha256 != self.adapter_sha256 => "from another adapter",
            Some(before) if before.reference_sha256 != self.reference_sha256 => {
                "with another reference"
            }
            _ => "with another configuration, see its config.toml",
        };
        let hint = "choose another --out, or remove the folder";
        Err(Error::input(
            out,
            format!("contains a run {difference}"),
            hint,
        ))
    }
}

/// The SHA-256 of the token ids of all examples, in order.
fn tokens_sha256(examples: &Examples) -> String {
    let mut hasher = Sha256::new();
    let all = examples.train.iter().chain(&examples.eval);
    let none = PromptCompletion::default();
    for example in all {
        hash_tokens(&mut hasher, &example.chosen);
        hash_tokens(&mut hasher, example.rejected.as_ref().unwrap_or(&none));
    }
    hex(&hasher.finalize())
}

/// The SHA-256 of an adapter: its weights, and the configuration that scales them.
fn adapter_sha256(folder: &Path) -> Result<String> {
    let adapter = Adapter::read(folder)?;
    Ok(hash(&[
        &format!(
            "{} {}",
            adapter.config.lora_alpha, adapter.config.use_rslora
        ),
        &sha256_file(&folder.join(ADAPTER_WEIGHTS_FILE))?,
    ]))
}

/// The SHA-256 of several strings, as hexadecimal digits.
fn hash(parts: &[&str]) -> String {
    hex(&sha256_parts(parts))
}
