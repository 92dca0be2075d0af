//! Preparation of a run: model, dataset, adapter, reference log-probabilities, the lock of its folder.

use std::fs;
use std::sync::atomic::AtomicBool;

use polyphony_io::atomic::{lock_folder, write_atomic, write_json};
use polyphony_io::progress::Progress;
use polyphony_io::{Error, Result};
use polyphony_model::chat::Chat;
use polyphony_model::decoder::Head;
use polyphony_model::decoder::config::DecoderConfig as ModelConfig;
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;
use polyphony_model::lora::Adapter;
use tracing::instrument;

use super::checkpoint::Counters;
use super::manifest::{CONFIG_FILE, MANIFEST_FILE, RunManifest};
use super::metrics_log::MetricsLog;
use super::micro_batch::MicroBatcher;
use super::reference::{self, LogpCache, ReferenceModel};
use super::trainer::Trainer;
use super::watch::Watch;
use crate::config::Config;
use crate::data::example::{Example, Examples};
use crate::data::reader::DatasetReader;
use crate::data::score_transform::transform_scores;
use crate::loss::objective::PairConstants;
use crate::method::Method;
use crate::optim::adamw::Moments;
use crate::policy::Policy;
use crate::watch::MeasureSamples;

/// The reference log-probabilities' file in a run's folder.
const REFERENCE_FILE: &str = "reference_logps.jsonl";

impl<'a> Trainer<'a> {
    /// Prepares the first step: loads data and model, computes reference log-probabilities. Returns none where
    /// `stop` is set meanwhile.
    pub(super) fn prepare(
        config: &'a Config,
        measure: Option<&'a MeasureSamples<'a>>,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let files = ModelFiles::find_model(&config.model)?;
        if !config.data.is_file() {
            return Err(Error::input(&config.data, "is not a file", "check --data"));
        }
        // Reading a dataset takes long: an unsupported architecture is reported before that.
        ModelConfig::read(&files)?;
        let chat = Chat::load(&files)?;
        let reader = DatasetReader {
            file: &config.data,
            method: config.method,
            has_pairs: config.objective().has_pairs(),
            max_length: config.max_length,
            overlength: config.overlength,
        };
        let Some(mut examples) = reader.read(&chat, stop)? else {
            return Ok(None);
        };
        examples.subsample_eval(config.max_eval_samples);
        let watch = Watch::new(config, &files, chat, &examples, measure)?;
        let manifest = RunManifest::new(config, &files, &examples)?;
        manifest.check_out_dir(&config.out)?;
        if let Some(weights) = &manifest.weights {
            weights.check(&config.data)?;
        }
        if config.method == Method::Reward && !config.raw_scores {
            transform_targets(&mut examples);
        }
        manifest.rows.report(config.max_length, progress);
        let mut policy = load_policy(config, &files, progress)?;
        fs::create_dir_all(&config.out).map_err(Error::io("create", &config.out))?;
        let lock = lock_folder(&config.out, |process| {
            let message = format!("is in use by another polyphony (process {process})");
            Error::input(&config.out, message, "wait for it, or use another --out")
        })?;
        // Another run may have started between the first check and the lock.
        manifest.check_out_dir(&config.out)?;
        let constants = pair_constants(config, &manifest, &mut policy, &examples, stop, progress)?;
        let Some(constants) = constants else {
            return Ok(None);
        };
        if let Some(weights) = &manifest.weights {
            weights.report(config.objective().skips(0.0), progress);
        }
        // Written last: a run that fails before its first step leaves the folder free for another run.
        write_json(&config.out.join(MANIFEST_FILE), &manifest)?;
        write_atomic(&config.out.join(CONFIG_FILE), config.to_toml()?.as_bytes())?;
        let (train, eval) = constants.split_at(examples.train.len());
        Ok(Some(Self {
            moments: Moments::new(&policy.parameters())?,
            micro_batcher: MicroBatcher::new(
                config.objective(),
                config.per_device_train_batch_size,
                config.micro_batch_tokens,
                config.gradient_checkpointing,
            ),
            counters: Counters::new(&manifest.fingerprint),
            train_constants: train.to_vec(),
            eval_constants: eval.to_vec(),
            train: examples.train,
            eval: examples.eval,
            weights: manifest.weights,
            log: MetricsLog::new(&config.out),
            watch,
            _lock: lock,
            config,
            policy,
        }))
    }
}

/// The base model with the adapter to train: one read from a folder, or a new one.
#[instrument(name = "load model", level = "debug", skip_all, fields(model = config.model))]
fn load_policy(config: &Config, files: &ModelFiles, progress: &dyn Progress) -> Result<Policy> {
    let head = match config.method {
        Method::Reward => Head::Score,
        _ => Head::Lm,
    };
    let mut policy = Policy::load(files, head, DeviceSpec::parse(&config.device)?)?;
    if config.max_length > policy.decoder.config.max_position_embeddings {
        progress.message(&format!(
            "--max-length {} exceeds the model's maximum of {}",
            config.max_length, policy.decoder.config.max_position_embeddings
        ));
    }
    let (base, revision) = files.base_model_ref()?;
    match &config.adapter {
        Some(folder) => {
            let adapter = Adapter::read(folder)?;
            let adapter_base = adapter.config.base_model.as_deref();
            if let Some(other) = adapter_base.filter(|other| last_part(other) != last_part(&base)) {
                let folder = folder.display();
                progress.message(&format!("{folder} was trained on {other}, not on {base}"));
            }
            policy.load_adapter(&adapter)?;
        }
        None => policy.init_lora(&config.lora_config(), config.seed)?,
    }
    (policy.lora_config.base_model, policy.lora_config.revision) = (Some(base), revision);
    Ok(policy)
}

/// Replaces the scores of all examples by targets from -1 to 1.
fn transform_targets(examples: &mut Examples) {
    let all = || examples.train.iter().chain(&examples.eval);
    let scores: Vec<f64> = all().map(|example| example.score).collect();
    let targets = transform_scores(&scores);
    let all = examples.train.iter_mut().chain(&mut examples.eval);
    all.zip(targets)
        .for_each(|(example, target)| example.score = target);
}

/// The last component of a model's name or path, which does not change when its parent folder is moved.
fn last_part(base: &str) -> &str {
    let name = base.split_once('@').map_or(base, |(name, _)| name);
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// Weights and reference log-probabilities of all examples, the training split first; none where `stop`
/// is set meanwhile. Training pairs that are skipped have no reference log-probabilities: 0.
fn pair_constants(
    config: &Config,
    manifest: &RunManifest,
    policy: &mut Policy,
    examples: &Examples,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<Vec<PairConstants>>> {
    let all: Vec<&Example> = examples.train.iter().chain(&examples.eval).collect();
    if !config.method.has_reference() {
        let constants = |example: &&Example| PairConstants {
            weight: example.weight,
            ref_chosen: 0.0,
            ref_rejected: 0.0,
        };
        return Ok(Some(all.iter().map(constants).collect()));
    }
    let objective = config.objective();
    let train = examples.train.iter();
    let needed: Vec<Option<&Example>> = train
        .map(|example| (!objective.skips(example.weight)).then_some(example))
        .chain(examples.eval.iter().map(Some))
        .collect();
    let model = ReferenceModel::parse(&config.reference);
    let default = config.out.join(REFERENCE_FILE);
    let cache = LogpCache {
        file: config.reference_logps.as_deref().unwrap_or(&default),
        may_replace: config.reference_logps.is_none(),
        fingerprint: &manifest.reference_fingerprint(config),
    };
    let tokens = config.micro_batch_tokens;
    let logps = reference::reference_logps(policy, &model, &needed, cache, tokens, stop, progress)?;
    let Some(logps) = logps else {
        return Ok(None);
    };
    let constants = all.iter().zip(logps).map(|(example, logps)| {
        let logps = logps.unwrap_or_default();
        if !logps.chosen.is_finite() || !logps.rejected.is_finite() {
            return Err(reference::non_finite_error(&config.data, example.row));
        }
        Ok(PairConstants {
            weight: example.weight,
            ref_chosen: logps.chosen,
            ref_rejected: logps.rejected,
        })
    });
    constants.collect::<Result<_>>().map(Some)
}
