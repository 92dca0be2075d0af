//! Reward models: a score of a response to a prompt, from the last token's hidden state of a decoder
//! (transformers: `AutoModelForSequenceClassification` with one label).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::cache::LoadCache;
use crate::chat::Chat;
use crate::decoder::packed::PackedSequences;
use crate::decoder::{Decoder, Head};
use crate::device::DeviceSpec;
use crate::files::ModelFiles;
use crate::lora::{ADAPTER_CONFIG_FILE, Adapter};
use crate::ops::linear::matmul_t;
use crate::tokenizer::SpecialTokens;
use crate::{Error, Result};
use polyphony_io::checksum::parse_checked;

/// The default maximum length of a text, in tokens, for a model without a [`REWARD_CONFIG_FILE`].
const DEFAULT_MAX_LENGTH: usize = 2048;
/// The file in an adapter's folder with the [`RewardConfig`] that it was trained with.
pub const REWARD_CONFIG_FILE: &str = "reward_config.json";
/// The maximum number of tokens of a batch.
const TOKENS_PER_BATCH: usize = 4096;

/// Reward models by name and device, shared in the process.
static CACHE: LoadCache<(String, DeviceSpec), RewardModel> = LoadCache::new();

/// A decoder with a reward head.
#[derive(Debug)]
pub struct RewardModel {
    decoder: Decoder<Tensor>,
    chat: Chat,
    /// Maximum length of a text, in tokens; longer texts are truncated.
    max_length: usize,
    /// The revision of the model's files and of the adapter's files.
    pub revision: String,
    /// Lock for a batch on a GPU, so that parallel partitions of a query do not exhaust its memory together.
    gpu_lock: Mutex<()>,
}

/// The contents of [`REWARD_CONFIG_FILE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardConfig {
    /// The maximum length of a text in training, in tokens.
    pub max_length: usize,
}

/// The input of a reward model, in the format of the paper's reference code.
pub fn format_input(prompt: &str, response: &str) -> String {
    format!("<prompt>{prompt}</prompt><response>{response}</response>")
}

impl RewardModel {
    /// Loads a reward model, once per process: the folder of a PEFT adapter, as `polyphony train reward` writes
    /// it, or a full model with a `score` head, by folder or hub id.
    ///
    /// # Errors
    /// When a file is missing or invalid, or the model has no `score` head.
    pub fn load_cached(name: &str, device: DeviceSpec) -> Result<Arc<Self>> {
        CACHE.get_or_load((name.to_owned(), device), || Self::load(name, device))
    }

    /// Loads the base model, merges the adapter and takes its reward head.
    #[tracing::instrument(name = "load_reward_model", skip(spec), fields(device = %spec))]
    fn load(name: &str, spec: DeviceSpec) -> Result<Self> {
        let folder = Path::new(name);
        let is_adapter = folder.join(ADAPTER_CONFIG_FILE).is_file();
        let adapter = is_adapter.then(|| Adapter::read(folder)).transpose()?;
        let unusable = |message: &str| {
            let hint = "train a reward model with `polyphony train reward`";
            Error::input(folder, message, hint)
        };
        let base = match &adapter {
            None => name.to_owned(),
            Some(adapter) => adapter.config.base_model_ref().ok_or_else(|| {
                unusable("has no base_model_name_or_path in its adapter_config.json")
            })?,
        };
        let files = ModelFiles::find_model(&base)?;
        let device = spec.open()?;
        let project = |module_path: &str, weight: Tensor| match &adapter {
            Some(adapter) => adapter.merge(module_path, weight),
            None => Ok(weight),
        };
        let mut decoder = Decoder::load(&files, Head::Score, spec.dtype(), &device, project)?;
        decoder.head = match &adapter {
            Some(adapter) => adapter.score_head(decoder.config.hidden_size, &device)?,
            None if decoder.head_is_zero() => return Err(unusable("has no `score` head")),
            None => decoder.head.to_dtype(DType::F32)?,
        };
        if let Some(adapter) = &adapter {
            adapter.refuse_unused(decoder.layers.len(), Head::Score)?;
        }
        Ok(Self {
            decoder,
            chat: Chat::load(&files)?,
            max_length: read_max_length(folder)?.unwrap_or(DEFAULT_MAX_LENGTH),
            revision: match &adapter {
                Some(adapter) => format!("{}+{}", files.revision()?, adapter.revision()?),
                None => files.revision()?,
            },
            gpu_lock: Mutex::default(),
        })
    }

    /// The rewards of pairs of prompt and response, in the order of the pairs; unbounded, higher is better.
    ///
    /// # Errors
    /// When the tokenizer cannot encode a text, the device fails, or a reward is not finite.
    #[tracing::instrument(level = "debug", skip_all, fields(texts = texts.len()))]
    pub fn rewards(&self, texts: &[(&str, &str)]) -> Result<Vec<f32>> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (prompt, response) in texts {
            let text = format_input(prompt, response);
            let mut ids = self.chat.encode(&text, SpecialTokens::Add)?;
            ids.truncate(self.max_length);
            tokens.push(ids);
        }
        let mut rewards = Vec::with_capacity(texts.len());
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let mut batch_tokens = 0;
            let fits = |ids: &&Vec<u32>| {
                batch_tokens += ids.len();
                batch_tokens <= TOKENS_PER_BATCH
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            let on_gpu = !self.decoder.device.is_cpu();
            let guard =
                on_gpu.then(|| self.gpu_lock.lock().unwrap_or_else(PoisonError::into_inner));
            let scores = self.scores(batch)?;
            drop(guard);
            if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
                return Err(Error::input(
                    &self.revision,
                    format!("the reward model gives a reward of {score}"),
                    "check the model's weights, or compute in bf16 or f32",
                ));
            }
            rewards.extend(scores);
            rest = after;
        }
        Ok(rewards)
    }

    /// The reward head's output at the last token of each text, computed in one batch without padding.
    fn scores(&self, texts: &[Vec<u32>]) -> candle_core::Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let device = &self.decoder.device;
        let last_rows = Tensor::new(PackedSequences::last_rows(&lengths), device)?;
        let packed = PackedSequences::new(&lengths, &self.decoder.config, device)?;
        let hidden = self.decoder.forward(&texts.concat(), &packed)?;
        let rows = hidden.index_select(&last_rows, 0)?.to_dtype(DType::F32)?;
        matmul_t(&rows, &self.decoder.head)?.squeeze(1)?.to_vec1()
    }
}

/// The `max_length` of a folder's [`REWARD_CONFIG_FILE`]; `None` if it has no such file.
fn read_max_length(folder: &Path) -> Result<Option<usize>> {
    let path = folder.join(REWARD_CONFIG_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let (config, _): (RewardConfig, _) = parse_checked(&text).map_err(|error| {
        let message = format!("has no valid max_length ({error})");
        Error::input(
            &path,
            message,
            "restore it, or train the reward model again",
        )
    })?;
    Ok(Some(config.max_length))
}
