//! Which run is this? Hashes of all that decides what is computed.

use std::fs;
use std::path::Path;

use polyphony_io::hash::{Sha256, hex, sha256_file, sha256_parts};
use polyphony_io::{Error, Result};
use polyphony_model::chat::Tokens;
use polyphony_model::files::ModelFiles;
use polyphony_model::lora::{Adapter, WEIGHTS};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::data::{Examples, hash_tokens};
use crate::reference::ReferenceModel;
use crate::tally::DatasetCounts;

/// The file that says which run a folder holds.
pub const RUN: &str = "run.json";
/// The file that says by which numbers it goes.
pub const CONFIG: &str = "config.toml";

/// What a run is: what makes it repeatable, saved beside the adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunManifest {
    /// The version of polyphony.
    pub polyphony: String,
    /// The model's revision: the hub's commit, or a hash of its files.
    pub model_revision: String,
    /// The SHA-256 of the pairs.
    pub pairs_sha256: String,
    /// The SHA-256 of the tokens that they became.
    pub tokens_sha256: String,
    /// The SHA-256 of the adapter that it starts from.
    pub adapter_sha256: Option<String>,
    /// The SHA-256 of the adapter that it is compared with, where that is another.
    pub reference_sha256: Option<String>,
    /// What became of the rows.
    #[serde(default)]
    pub rows: DatasetCounts,
    /// A hash of the hashes above and the numbers that decide what is computed.
    pub fingerprint: String,
}

impl RunManifest {
    /// What a run of a model on examples is.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(config: &Config, files: &ModelFiles, examples: &Examples) -> Result<Self> {
        let who = ReferenceModel::named(&config.reference);
        let reference_sha256 = match &who {
            ReferenceModel::Adapter(folder) if config.method.has_reference() => {
                Some(adapter_sha256(folder)?)
            }
            _ => None,
        };
        let mut identity = Self {
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            model_revision: files.revision()?,
            pairs_sha256: sha256_file(&config.pairs)?,
            tokens_sha256: tokens_sha256(examples),
            adapter_sha256: config.adapter.as_deref().map(adapter_sha256).transpose()?,
            reference_sha256,
            rows: DatasetCounts::of(examples),
            fingerprint: String::new(),
        };
        // Where things lie and how often they are saved does not change what is computed.
        let mut decides = config.clone();
        decides.model.clear();
        decides.out = "".into();
        decides.pairs = "".into();
        decides.adapter = None;
        if identity.reference_sha256.is_some() {
            decides.reference.clear();
        }
        decides.reference_logps = None;
        decides.checkpoint_every = 1;
        decides.checkpoint_minutes = 1.0;
        decides.keep_checkpoints = 1;
        decides.recompute = false;
        identity.fingerprint = hash(&[
            &decides.toml(),
            &identity.model_revision,
            &identity.pairs_sha256,
            &identity.tokens_sha256,
            identity.adapter_sha256.as_deref().unwrap_or_default(),
            identity.reference_sha256.as_deref().unwrap_or_default(),
        ]);
        Ok(identity)
    }

    /// What the log-probabilities of the reference belong to.
    pub fn reference_fingerprint(&self, config: &Config) -> String {
        // A fresh adapter's term is zero: the reference is the bare base.
        let of_adapter = match ReferenceModel::named(&config.reference) {
            ReferenceModel::Init => self.adapter_sha256.as_deref(),
            ReferenceModel::Base => None,
            ReferenceModel::Adapter(_) => self.reference_sha256.as_deref(),
        };
        hash(&[
            &self.model_revision,
            &self.pairs_sha256,
            &self.tokens_sha256,
            of_adapter.unwrap_or_default(),
            &config.device,
        ])
    }

    /// Refuses a folder that holds another run, or a config that no run wrote.
    ///
    /// # Errors
    /// When it does.
    pub fn check_out_dir(&self, out: &Path) -> Result<()> {
        let Ok(text) = fs::read(out.join(RUN)) else {
            if out.join(CONFIG).exists() {
                let message = format!("holds a {CONFIG} that no run wrote");
                let hint = "choose another --out, or move that file elsewhere";
                return Err(Error::input(out, message, hint));
            }
            return Ok(());
        };
        let before: Option<Self> = serde_json::from_slice(&text).ok();
        let what = match before {
            Some(before) if before.fingerprint == self.fingerprint => return Ok(()),
            Some(before) if before.pairs_sha256 != self.pairs_sha256 => "on other pairs",
            Some(before) if before.model_revision != self.model_revision => "of another model",
            Some(before) if before.adapter_sha256 != self.adapter_sha256 => "from another adapter",
            Some(before) if before.reference_sha256 != self.reference_sha256 => {
                "with another reference"
            }
            _ => "by another config: its config.toml says which",
        };
        let hint = "choose another --out, or remove it";
        Err(Error::input(out, format!("holds a run {what}"), hint))
    }
}

fn tokens_sha256(examples: &Examples) -> String {
    let mut hasher = Sha256::new();
    let all = examples.train.iter().chain(&examples.evaluation);
    let none = Tokens::default();
    for example in all {
        hash_tokens(&mut hasher, &example.chosen);
        hash_tokens(&mut hasher, example.rejected.as_ref().unwrap_or(&none));
    }
    hex(&hasher.finalize())
}

fn adapter_sha256(folder: &Path) -> Result<String> {
    let adapter = Adapter::read(folder)?;
    Ok(hash(&[
        &format!(
            "{} {}",
            adapter.lora_config.alpha, adapter.lora_config.rslora
        ),
        &sha256_file(&folder.join(WEIGHTS))?,
    ]))
}

fn hash(parts: &[&str]) -> String {
    hex(&sha256_parts(parts))
}
