//! Which vector has a text? Tokenizer, encoder and pooling, put together as sentence-transformers
//! does.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};
use serde_json::Value;
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use super::Encoder;
use super::fused::Buffers;
use crate::device::DeviceSpec;
use crate::files::ModelFiles;
use crate::kernel::vector;
use crate::{Error, Result};

/// A sentence-transformers model, loaded.
#[derive(Debug)]
pub struct SentenceEncoder {
    /// The hub's `OWNER/NAME` or the folder's name, and the task: `NAME#TASK`.
    pub name: String,
    /// The hub's commit, or a hash of the folder's files.
    pub revision: String,
    /// How many values its vectors have.
    pub dimension: usize,
    /// Longer texts are cut, in tokens.
    pub max_tokens: usize,
    /// What its users must know: its licence, and what to use instead.
    pub license_notice: Option<String>,
    tokenizer: Tokenizer,
    lower_case: bool,
    /// What goes before every text.
    prefix: String,
    encoder: Encoder,
    buffers: Mutex<Buffers>,
    pooling: Pooling,
    pub(super) normalize: bool,
}

/// How the tokens' vectors become the text's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Mean,
    First,
    Max,
    MeanSqrtLength,
}

/// Texts as tokens, ready for the encoder.
#[derive(Debug)]
pub struct Tokenized {
    /// The ids of each text's tokens.
    pub ids: Vec<Vec<u32>>,
    /// How many tokens they have, all together.
    pub tokens: usize,
    /// How many of the texts were cut.
    pub truncated: usize,
}

impl SentenceEncoder {
    /// Loads a model from a folder or the hub: `PATH` or `OWNER/NAME[@REVISION]`, either with
    /// `#TASK` behind it for a model with an adapter a task.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be; nothing has run then.
    pub fn load(given: &str, place: DeviceSpec) -> Result<Self> {
        Self::load_in(given, place, place.precision())
    }

    /// [`Self::load`] in another precision than the device's own.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_in(given: &str, place: DeviceSpec, precision: DType) -> Result<Self> {
        let (model, task) = match given.rsplit_once('#') {
            Some((model, task)) => (model, Some(task)),
            None => (given, None),
        };
        let files = ModelFiles::find_model(model)?;
        let modules = Modules::read(&files)?;
        let device = place.open()?;
        let encoder = Encoder::load(&files, task, precision, &device)?;
        let limit = modules.max_tokens.unwrap_or(encoder.max_tokens);
        let max_tokens = limit.min(encoder.max_tokens);
        let tokenizer = tokenizer(&files)?;
        let special = tokenizer.get_post_processor();
        let special = special.map_or(0, |special| special.added_tokens(false));
        if max_tokens <= special {
            return Err(Error::input(
                &files.name,
                format!("takes texts of {max_tokens} tokens, special ones counted"),
                "check max_seq_length in its sentence_bert_config.json",
            ));
        }
        let mut name = files.name.clone();
        if let Some(task) = task {
            name = format!("{name}#{task}");
        }
        Ok(Self {
            revision: match precision {
                DType::F32 => files.revision()?,
                // Vectors of another precision do not mix with these.
                other => format!("{}-{}", files.revision()?, other.as_str()),
            },
            dimension: encoder.width,
            max_tokens,
            license_notice: license_notice(&files.name, &files)?,
            tokenizer: cutting(tokenizer, max_tokens, &files)?,
            lower_case: modules.lower_case,
            prefix: prefix(&files, task)?,
            encoder,
            buffers: Mutex::default(),
            pooling: modules.pooling,
            normalize: modules.normalize,
            name,
        })
    }

    /// How many weights work on every token.
    pub fn parameters(&self) -> usize {
        self.encoder.parameters()
    }

    /// The texts' tokens, cut at [`Self::max_tokens`] as the model's own tokenizer cuts.
    ///
    /// # Errors
    /// When the tokenizer refuses a text.
    pub fn tokenize(&self, texts: &[&str]) -> Result<Tokenized> {
        use rayon::prelude::*;
        let vocabulary = self.encoder.vocabulary();
        let one = |text: &&str| -> Result<(Vec<u32>, bool)> {
            let mut text = format!("{}{text}", self.prefix);
            if self.lower_case {
                text = text.to_lowercase();
            }
            let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| {
                Error::input(
                    &self.name,
                    format!("the tokenizer refuses a text ({error})"),
                    "check its tokenizer.json",
                )
            })?;
            if let Some(id) = encoding.get_ids().iter().find(|&&id| id >= vocabulary) {
                return Err(Error::input(
                    &self.name,
                    format!("the tokenizer gives token {id}, the model knows {vocabulary}"),
                    "its tokenizer.json belongs to another model: fetch the model again",
                ));
            }
            let cut = !encoding.get_overflowing().is_empty();
            Ok((encoding.get_ids().to_vec(), cut))
        };
        let encoded: Vec<(Vec<u32>, bool)> = texts.par_iter().map(one).collect::<Result<_>>()?;
        let truncated = encoded.iter().filter(|(_, cut)| *cut).count();
        let ids: Vec<Vec<u32>> = encoded.into_iter().map(|(ids, _)| ids).collect();
        Ok(Tokenized {
            tokens: ids.iter().map(Vec::len).sum(),
            ids,
            truncated,
        })
    }

    /// The vectors of a batch of texts, given as tokens, one after another.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn embed(&self, texts: &[&[u32]]) -> candle_core::Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let ids: Vec<u32> = texts.concat();
        let mut rows = if self.encoder.is_fused() {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let tokens = self.encoder.forward_fused(&ids, &lengths, &mut buffers)?;
            self.pool(tokens, &lengths)
        } else {
            let tokens = self.encoder.forward(&ids, &lengths)?.to_dtype(DType::F32)?;
            let pooled = self.pool_there(&tokens, &lengths)?;
            pooled.flatten_all()?.to_vec1::<f32>()?
        };
        if self.normalize {
            rows.chunks_exact_mut(self.dimension)
                .for_each(vector::normalize);
        }
        Ok(rows)
    }

    /// Pools rows that lie in memory.
    fn pool(&self, tokens: &[f32], lengths: &[usize]) -> Vec<f32> {
        let width = self.dimension;
        let mut pooled = vec![0.0; lengths.len() * width];
        let mut rest = tokens;
        for (vector, &length) in pooled.chunks_exact_mut(width).zip(lengths) {
            let (rows, after) = rest.split_at(length * width);
            rest = after;
            let mut rows = rows.chunks_exact(width);
            let first = rows.next().unwrap_or_default();
            vector[..first.len()].copy_from_slice(first);
            match self.pooling {
                Pooling::First => (),
                Pooling::Max => rows.for_each(|row| {
                    vector
                        .iter_mut()
                        .zip(row)
                        .for_each(|(most, value)| *most = most.max(*value));
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

    /// Pools rows where the device holds them: a text's share of each token is one sparse row.
    fn pool_there(&self, tokens: &Tensor, lengths: &[usize]) -> candle_core::Result<Tensor> {
        let mut start = 0;
        let pooled = lengths.iter().map(|&length| {
            if length == 0 {
                // A tokenizer without special tokens makes none of the empty text.
                return Tensor::zeros((1, self.dimension), tokens.dtype(), tokens.device());
            }
            let rows = tokens.narrow(0, start, length)?;
            start += length;
            match self.pooling {
                Pooling::First => rows.narrow(0, 0, 1),
                Pooling::Max => rows.max_keepdim(0),
                Pooling::Mean | Pooling::MeanSqrtLength => {
                    rows.sum_keepdim(0)? / f64::from(self.divisor(length))
                }
            }
        });
        Tensor::cat(&pooled.collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    fn divisor(&self, length: usize) -> f32 {
        // A tokenizer without special tokens makes none of the empty text: its mean is zero.
        let length = length.max(1) as f32;
        match self.pooling {
            Pooling::MeanSqrtLength => length.sqrt(),
            _ => length,
        }
    }
}

/// What modules.json and the files that it names say.
struct Modules {
    max_tokens: Option<usize>,
    lower_case: bool,
    pooling: Pooling,
    normalize: bool,
}

impl Modules {
    fn read(files: &ModelFiles) -> Result<Self> {
        let mut read = Self {
            max_tokens: None,
            lower_case: false,
            pooling: Pooling::Mean,
            normalize: false,
        };
        let Some(modules) = files.json("modules.json")? else {
            // A bare transformer is what sentence-transformers pools by the mean, too.
            read.transformer(files)?;
            return Ok(read);
        };
        for module in modules.as_array().into_iter().flatten() {
            let kind = module["type"].as_str().unwrap_or_default();
            let path = module["path"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" if path.is_empty() => read.transformer(files)?,
                "Pooling" => read.pooling = pooling(files, &format!("{path}/config.json"))?,
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

    fn transformer(&mut self, files: &ModelFiles) -> Result<()> {
        let settings = files.json("sentence_bert_config.json")?.unwrap_or_default();
        self.lower_case = settings["do_lower_case"].as_bool().unwrap_or(false);
        let of_tokenizer = files.json("tokenizer_config.json")?.unwrap_or_default();
        let number = |value: &Value| value.as_u64().map(|number| number as usize);
        self.max_tokens = number(&settings["max_seq_length"])
            .or_else(|| number(&of_tokenizer["model_max_length"]));
        Ok(())
    }
}

fn pooling(files: &ModelFiles, file: &str) -> Result<Pooling> {
    let path = files.require(file)?;
    let config = files.json(file)?.unwrap_or_default();
    let modes = [
        ("mean", "mean_tokens", Pooling::Mean),
        ("cls", "cls_token", Pooling::First),
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
            "does not choose one pooling of mean, cls, max, mean_sqrt_len_tokens",
            "choose a model that does",
        )),
    }
}

/// The model's tokenizer, which pads no text.
fn tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    let path = files.require("tokenizer.json")?;
    let mut tokenizer = Tokenizer::from_file(&path).map_err(|error| no_tokenizer(&path, &error))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// The tokenizer, which cuts texts at so many tokens, on the side on which it always did.
fn cutting(mut tokenizer: Tokenizer, max_tokens: usize, files: &ModelFiles) -> Result<Tokenizer> {
    let truncation = TruncationParams {
        max_length: max_tokens,
        direction: tokenizer
            .get_truncation()
            .map_or(TruncationDirection::Right, |given| given.direction),
        ..TruncationParams::default()
    };
    tokenizer
        .with_truncation(Some(truncation))
        .map_err(|error| no_tokenizer(files.name.as_ref(), &error))?;
    Ok(tokenizer)
}

fn no_tokenizer(path: &Path, error: &tokenizers::Error) -> Error {
    Error::input(
        path,
        format!("is no tokenizer ({error})"),
        "fetch the model again",
    )
}

/// What the model puts before every text: its default prompt, or its task's instruction.
fn prefix(files: &ModelFiles, task: Option<&str>) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(task) = task {
        let config = files.json("config.json")?.unwrap_or_default();
        return Ok(text(&config["task_instructions"][task]));
    }
    let settings = files
        .json("config_sentence_transformers.json")?
        .unwrap_or_default();
    let name = settings["default_prompt_name"].as_str();
    Ok(name.map_or_else(String::new, |name| text(&settings["prompts"][name])))
}

/// What users of a model must be told once.
fn license_notice(name: &str, files: &ModelFiles) -> Result<Option<String>> {
    let config = files.json("config.json")?.unwrap_or_default();
    let rotary = config["position_embedding_type"] == "rotary";
    Ok(rotary.then(|| {
        format!(
            "{name}: weights of jina-embeddings-v3 are licensed CC-BY-NC-4.0, for no commercial \
             use; BAAI/bge-m3 (MIT) and intfloat/multilingual-e5-large (MIT) are free of that"
        )
    }))
}
