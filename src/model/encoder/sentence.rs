//! Sentence embeddings: tokenizer, encoder and pooling, as sentence-transformers composes them.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};
use serde_json::Value;

use super::Encoder;
use super::fused::Buffers;
use super::text_tokenizer::{LongTexts, Settings, TextTokenizer, Tokenized};
use crate::device::DeviceSpec;
use crate::files::ModelFiles;
use crate::kernel::vector;
use crate::{Error, Result};

/// A sentence-transformers model.
#[derive(Debug)]
pub struct SentenceEncoder {
    /// The model's name: the hub id `OWNER/NAME` or the folder's name; with a task `NAME#TASK`.
    pub name: String,
    /// The revision: the hub's commit, or a hash of the folder's files.
    pub revision: String,
    /// Embedding dimension.
    pub dimension: usize,
    /// Maximum length of a text, in tokens, special tokens included; [`LongTexts`] says how longer texts are read.
    pub max_seq_length: usize,
    /// The licence notice for users, if the licence forbids commercial use; it also names alternatives.
    pub license_notice: Option<String>,
    tokenizer: TextTokenizer,
    encoder: Encoder,
    buffers: Mutex<Buffers>,
    pooling: Pooling,
    pub(super) normalize: bool,
}

/// Pooling: how the hidden states of a text's tokens become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    /// Mean pooling.
    Mean,
    /// CLS pooling: the hidden state of the first token.
    Cls,
    /// Max pooling: the maximum of each component.
    Max,
    /// The sum divided by the square root of the number of tokens (`mean_sqrt_len_tokens`).
    MeanSqrtLength,
}

impl SentenceEncoder {
    /// Loads a model from a folder or the hub: `PATH` or `OWNER/NAME[@REVISION]`, either followed by
    /// `#TASK` for a model with one LoRA adapter per task.
    ///
    /// # Errors
    /// When a file is missing or invalid.
    pub fn load(given: &str, device: DeviceSpec) -> Result<Self> {
        Self::load_with_dtype(given, device, device.dtype())
    }

    /// [`Self::load`] in another dtype than the device's default.
    ///
    /// # Errors
    /// As [`Self::load`].
    #[tracing::instrument(name = "load_sentence_encoder", skip(spec, dtype), fields(device = %spec))]
    pub fn load_with_dtype(given: &str, spec: DeviceSpec, dtype: DType) -> Result<Self> {
        let (model, task) = match given.rsplit_once('#') {
            Some((model, task)) => (model, Some(task)),
            None => (given, None),
        };
        let files = ModelFiles::find_model(model)?;
        let modules = Modules::read(&files)?;
        let device = spec.open()?;
        let encoder = Encoder::load(&files, task, dtype, &device)?;
        let limit = modules.max_seq_length.unwrap_or(encoder.max_seq_length);
        let max_seq_length = limit.min(encoder.max_seq_length);
        let settings = Settings {
            max_length: max_seq_length,
            lower_case: modules.lower_case,
            prompt: default_prompt(&files, task)?,
            vocab_size: encoder.vocab_size(),
        };
        let tokenizer = TextTokenizer::load(&files, settings)?;
        let mut name = files.name.clone();
        if let Some(task) = task {
            name = format!("{name}#{task}");
        }
        Ok(Self {
            revision: match dtype {
                DType::F32 => files.revision()?,
                // Embeddings of different dtypes must not be mixed in a store.
                other => format!("{}-{}", files.revision()?, other.as_str()),
            },
            dimension: encoder.hidden_size,
            max_seq_length,
            license_notice: license_notice(&files.name, &files)?,
            tokenizer,
            encoder,
            buffers: Mutex::default(),
            pooling: modules.pooling,
            normalize: modules.normalize,
            name,
        })
    }

    /// Number of parameters that every token is multiplied with; it estimates the cost per token.
    pub fn parameters(&self) -> usize {
        self.encoder.parameters()
    }

    /// Tokenizes texts, at most [`Self::max_seq_length`] tokens of each, or windows of it.
    ///
    /// # Errors
    /// When the tokenizer cannot encode a text, or the model's prompt leaves no room for windows.
    pub fn tokenize(&self, texts: &[&str], long_texts: LongTexts) -> Result<Tokenized> {
        self.tokenizer.tokenize(texts, long_texts)
    }

    /// The embeddings of texts from those of their windows, which are taken as they are for texts of one window:
    /// the mean weighted by tokens, of length 1 if the model normalises. Shapes (windows, dimension) and
    /// (texts, dimension), row-major.
    pub fn join_windows(&self, texts: &Tokenized, windows: Vec<f32>) -> Vec<f32> {
        if texts.texts.len() == texts.ids.len() {
            return windows;
        }
        let mut joined = Vec::with_capacity(texts.texts.len() * self.dimension);
        let (mut rows, mut weights) = (windows.as_slice(), texts.weights.as_slice());
        for text in &texts.texts {
            let (of_text, after) = rows.split_at(text.windows * self.dimension);
            let (weights_of_text, others) = weights.split_at(text.windows);
            (rows, weights) = (after, others);
            if text.windows == 1 {
                joined.extend_from_slice(of_text);
                continue;
            }
            let start = joined.len();
            joined.extend(vector::weighted_mean(of_text, weights_of_text));
            if self.normalize {
                vector::normalize(&mut joined[start..]);
            }
        }
        joined
    }

    /// Embeddings of a batch of tokenized texts: shape (texts, dimension), row-major.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn embed(&self, texts: &[&[u32]]) -> candle_core::Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let ids: Vec<u32> = texts.concat();
        let mut rows = if self.encoder.has_fused_path() {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let hidden = self.encoder.forward_fused(&ids, &lengths, &mut buffers)?;
            self.pool(hidden, &lengths)
        } else {
            let hidden = self.encoder.forward(&ids, &lengths)?.to_dtype(DType::F32)?;
            let pooled = self.pool_on_device(&hidden, &lengths)?;
            pooled.flatten_all()?.to_vec1::<f32>()?
        };
        if self.normalize {
            rows.chunks_exact_mut(self.dimension)
                .for_each(vector::normalize);
        }
        Ok(rows)
    }

    /// Pools hidden states in memory: shape (T, H) to (texts, H).
    fn pool(&self, hidden: &[f32], lengths: &[usize]) -> Vec<f32> {
        let width = self.dimension;
        let mut pooled = vec![0.0; lengths.len() * width];
        let mut rest = hidden;
        for (vector, &length) in pooled.chunks_exact_mut(width).zip(lengths) {
            let (rows, after) = rest.split_at(length * width);
            rest = after;
            let mut rows = rows.chunks_exact(width);
            let first = rows.next().unwrap_or_default();
            vector[..first.len()].copy_from_slice(first);
            match self.pooling {
                Pooling::Cls => (),
                Pooling::Max => rows.for_each(|row| {
                    vector
                        .iter_mut()
                        .zip(row)
                        .for_each(|(max, value)| *max = max.max(*value));
                }),
                Pooling::Mean | Pooling::MeanSqrtLength => {
                    rows.for_each(|row| {
                        vector
                            .iter_mut()
                            .zip(row)
                            .for_each(|(sum, value)| *sum += value);
                    });
                    let divisor = self.divisor(length);
                    for sum in vector.iter_mut() {
                        *sum /= divisor;
                    }
                }
            }
        }
        pooled
    }

    /// Pools hidden states on their device: shape (T, H) to (texts, H).
    fn pool_on_device(&self, hidden: &Tensor, lengths: &[usize]) -> candle_core::Result<Tensor> {
        let mut start = 0;
        let pooled = lengths.iter().map(|&length| {
            if length == 0 {
                // An empty text has no tokens if the tokenizer adds no special tokens.
                return Tensor::zeros((1, self.dimension), hidden.dtype(), hidden.device());
            }
            let rows = hidden.narrow(0, start, length)?;
            start += length;
            match self.pooling {
                Pooling::Cls => rows.narrow(0, 0, 1),
                Pooling::Max => rows.max_keepdim(0),
                Pooling::Mean | Pooling::MeanSqrtLength => {
                    rows.sum_keepdim(0)? / f64::from(self.divisor(length))
                }
            }
        });
        Tensor::cat(&pooled.collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    /// The divisor of the sum of hidden states in the two mean poolings.
    fn divisor(&self, length: usize) -> f32 {
        // An empty text has no tokens if the tokenizer adds no special tokens: its mean is zero.
        let length = length.max(1) as f32;
        match self.pooling {
            Pooling::MeanSqrtLength => length.sqrt(),
            _ => length,
        }
    }
}

/// The settings of modules.json and of the files that it refers to.
struct Modules {
    max_seq_length: Option<usize>,
    lower_case: bool,
    pooling: Pooling,
    normalize: bool,
}

impl Modules {
    /// Reads modules.json; a module of an unsupported type is an error.
    fn read(files: &ModelFiles) -> Result<Self> {
        let mut read = Self {
            max_seq_length: None,
            lower_case: false,
            pooling: Pooling::Mean,
            normalize: false,
        };
        let Some(modules) = files.read_json("modules.json")? else {
            // sentence-transformers, too, uses mean pooling for a model without modules.json.
            read.read_transformer(files)?;
            return Ok(read);
        };
        for module in modules.as_array().into_iter().flatten() {
            let kind = module["type"].as_str().unwrap_or_default();
            let path = module["path"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" if path.is_empty() => read.read_transformer(files)?,
                "Pooling" => read.pooling = read_pooling(files, &format!("{path}/config.json"))?,
                "Normalize" => read.normalize = true,
                _ => {
                    return Err(Error::Unknown {
                        what: "module of a sentence-transformers model",
                        given: format!("{kind} at `{path}`"),
                        known: "Transformer at ``, Pooling, Normalize".to_owned(),
                    });
                }
            }
        }
        Ok(read)
    }

    /// Reads the maximum length and lower-casing of the Transformer module.
    fn read_transformer(&mut self, files: &ModelFiles) -> Result<()> {
        let config = files.read_json("sentence_bert_config.json")?;
        let config = config.unwrap_or_default();
        self.lower_case = config["do_lower_case"].as_bool().unwrap_or(false);
        let tokenizer_config = files.read_json("tokenizer_config.json")?;
        let tokenizer_config = tokenizer_config.unwrap_or_default();
        let number = |value: &Value| value.as_u64().map(|number| number as usize);
        self.max_seq_length = number(&config["max_seq_length"])
            .or_else(|| number(&tokenizer_config["model_max_length"]));
        Ok(())
    }
}

/// Reads the pooling mode, from the field `pooling_mode` or the flags `pooling_mode_*`.
fn read_pooling(files: &ModelFiles, file: &str) -> Result<Pooling> {
    let path = files.require(file)?;
    let config = files.read_json(file)?.unwrap_or_default();
    let modes = [
        ("mean", "mean_tokens", Pooling::Mean),
        ("cls", "cls_token", Pooling::Cls),
        ("max", "max_tokens", Pooling::Max),
        (
            "mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
            Pooling::MeanSqrtLength,
        ),
    ];
    let chosen: Vec<Pooling> = modes
        .iter()
        .filter(|(short, long, _)| {
            config["pooling_mode"] == *short
                || config[format!("pooling_mode_{long}")].as_bool() == Some(true)
        })
        .map(|(_, _, pooling)| *pooling)
        .collect();
    match chosen.as_slice() {
        [pooling] => Ok(*pooling),
        _ => Err(Error::input(
            &path,
            format!(
                "must have one pooling mode of mean, cls, max, mean_sqrt_len_tokens (got {})",
                chosen.len()
            ),
            "choose another model",
        )),
    }
}

/// The prompt prepended to every text: the model's default prompt, or its task's instruction.
fn default_prompt(files: &ModelFiles, task: Option<&str>) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(task) = task {
        let config = files.read_json("config.json")?.unwrap_or_default();
        return Ok(text(&config["task_instructions"][task]));
    }
    let config = files
        .read_json("config_sentence_transformers.json")?
        .unwrap_or_default();
    let name = config["default_prompt_name"].as_str();
    Ok(name.map_or_else(String::new, |name| text(&config["prompts"][name])))
}

/// The licence notice of a model that forbids commercial use.
fn license_notice(name: &str, files: &ModelFiles) -> Result<Option<String>> {
    let config = files.read_json("config.json")?.unwrap_or_default();
    let rotary = config["position_embedding_type"] == "rotary";
    Ok(rotary.then(|| {
        format!(
            "{name}: the weights of jina-embeddings-v3 are licensed CC-BY-NC-4.0 (no commercial use); \
             BAAI/bge-m3 and intfloat/multilingual-e5-large are licensed MIT"
        )
    }))
}
