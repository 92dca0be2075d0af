//! How good does a reward model find a response? One number from a decoder's last token.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::chat::Chat;
use crate::decoder::ops::PackedSequences;
use crate::decoder::{Decoder, Head};
use crate::device::DeviceSpec;
use crate::files::{ModelFiles, is_hub_id};
use crate::lora::{Adapter, CONFIG, LoraConfig};
use crate::{Error, Result};

/// What is read of a text at most, in tokens, where the model does not say.
const MAX_TOKENS: usize = 2048;
/// The file beside an adapter that says how long the texts were that it was trained on.
pub const LIMIT: &str = "reward.json";
/// So many tokens go through the model at a time.
const BUDGET: usize = 4096;

type Loaded = HashMap<(String, DeviceSpec), Arc<RewardModel>>;
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

/// A decoder whose head gives one number.
#[derive(Debug)]
pub struct RewardModel {
    decoder: Decoder<Tensor>,
    chat: Chat,
    /// What is read of a text at most, in tokens.
    max_tokens: usize,
    /// What its files hold, and the adapter's.
    pub revision: String,
    /// On a GPU one batch is there at a time, however many partitions of a query ask.
    turn: Mutex<()>,
}

/// What stands in [`LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardConfig {
    /// The longest text, in tokens.
    pub max_length: usize,
}

/// What a reward model reads, as the reference writes it.
pub fn text(prompt: &str, response: &str) -> String {
    format!("<prompt>{prompt}</prompt><response>{response}</response>")
}

impl RewardModel {
    /// Loads a reward model once a process: a folder of a PEFT adapter, as `polyphony train reward`
    /// writes it, or a whole model with a `score` head, by folder or hub id.
    ///
    /// # Errors
    /// When it is missing, or has no such head.
    pub fn named(name: &str, place: DeviceSpec) -> Result<Arc<Self>> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), place);
        if let Some(known) = loaded.get(&key) {
            return Ok(Arc::clone(known));
        }
        let model = Arc::new(Self::load(name, place)?);
        loaded.insert(key, Arc::clone(&model));
        Ok(model)
    }

    fn load(name: &str, place: DeviceSpec) -> Result<Self> {
        let folder = Path::new(name);
        let is_adapter = folder.join(CONFIG).is_file();
        let adapter = is_adapter.then(|| Adapter::read(folder)).transpose()?;
        let refused = |message: &str| {
            let hint = "train one with `polyphony train reward`";
            Error::input(folder, message, hint)
        };
        let base = match adapter.as_ref().map(|adapter| &adapter.lora_config) {
            None => name.to_owned(),
            Some(LoraConfig {
                base: Some(base),
                revision: Some(revision),
                ..
            }) if is_hub_id(base) => format!("{base}@{revision}"),
            Some(LoraConfig {
                base: Some(base), ..
            }) => base.clone(),
            Some(_) => return Err(refused("does not say which model it belongs to")),
        };
        let files = ModelFiles::find_model(&base)?;
        let device = place.open()?;
        let project = |name: &str, weight: Tensor| match &adapter {
            Some(adapter) => adapter.merged(name, weight),
            None => Ok(weight),
        };
        let mut decoder = Decoder::load(&files, Head::Score, place.precision(), &device, project)?;
        let shape = [1, decoder.config.width];
        decoder.head = match &adapter {
            Some(adapter) => adapter.tensor("base_model.model.score.weight", shape, &device)?,
            None if decoder.head_is_zero() => return Err(refused("has no `score` head")),
            None => decoder.head.to_dtype(DType::F32)?,
        };
        if let Some(adapter) = &adapter {
            let products = adapter.lora_config.products_of(decoder.layers.len());
            let parts = products.iter().flat_map(|product| {
                ["lora_A", "lora_B"].map(|part| format!("base_model.model.{product}.{part}.weight"))
            });
            let head = "base_model.model.score.weight".to_owned();
            adapter.all_used(&parts.chain([head]).collect::<Vec<_>>())?;
        }
        Ok(Self {
            decoder,
            chat: Chat::load(&files)?,
            max_tokens: limit(folder)?.unwrap_or(MAX_TOKENS),
            revision: match &adapter {
                Some(adapter) => format!("{}+{}", files.revision()?, adapter.revision()?),
                None => files.revision()?,
            },
            turn: Mutex::default(),
        })
    }

    /// The rewards of responses to prompts.
    ///
    /// # Errors
    /// When the tokenizer refuses a text, or the device fails.
    pub fn rewards(&self, texts: &[(&str, &str)]) -> Result<Vec<f32>> {
        let mut tokens = Vec::with_capacity(texts.len());
        for (prompt, response) in texts {
            let mut ids = self.chat.encode(&text(prompt, response), true)?;
            ids.truncate(self.max_tokens);
            tokens.push(ids);
        }
        let mut rewards = Vec::with_capacity(texts.len());
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let mut held = 0;
            let fits = |ids: &&Vec<u32>| {
                held += ids.len();
                held <= BUDGET
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            let alone = !self.decoder.device.is_cpu();
            let turn = alone.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            let scores = self.scores(batch)?;
            drop(turn);
            if scores.iter().any(|score| !score.is_finite()) {
                return Err(Error::input(
                    &self.revision,
                    "gives a reward that is no number",
                    "check the model's weights, or compute in bf16 or f32",
                ));
            }
            rewards.extend(scores);
            rest = after;
        }
        Ok(rewards)
    }

    fn scores(&self, texts: &[Vec<u32>]) -> candle_core::Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end as u32 - 1)
        });
        let device = &self.decoder.device;
        let ends = Tensor::from_iter(ends, device)?;
        let segments = PackedSequences::new(&lengths, &self.decoder.config, device)?;
        let x = self.decoder.forward(&texts.concat(), &segments)?;
        let rows = x.index_select(&ends, 0)?.to_dtype(DType::F32)?;
        rows.matmul(&self.decoder.head.t()?)?.squeeze(1)?.to_vec1()
    }
}

/// What a folder's [`LIMIT`] says; none where it has none.
fn limit(folder: &Path) -> Result<Option<usize>> {
    let path = folder.join(LIMIT);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let limit: RewardConfig = serde_json::from_slice(&text).map_err(|error| {
        let message = format!("does not say a max_length ({error})");
        Error::input(&path, message, "train the reward model anew")
    })?;
    Ok(Some(limit.max_length))
}
