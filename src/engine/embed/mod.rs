//! Embedders: texts to vectors, by the names `builtin:words`, `builtin:style`, a folder or a hub id.

pub mod batcher;
pub mod model_pool;
pub mod style;
pub mod token_counts;
pub mod words;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rayon::prelude::*;

use self::batcher::Batcher;
use self::model_pool::ModelPool;
use crate::{Error, Result};
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::text_tokenizer::{LongTexts, TextTokens};
use polyphony_model::files::is_hub_id;

/// An embedder: maps a text to a vector.
#[derive(Debug, Clone)]
pub enum Embedder {
    /// `builtin:words`: hashed word n-grams, see [`words`].
    HashedNgrams,
    /// `builtin:style`: stylometric features, see [`style`].
    Stylometric,
    /// A trained sentence encoder, loaded once per process, and its request queue.
    Transformer(Arc<ModelPool>, Batcher),
}

/// The result of embedding: vectors and tokens.
#[derive(Debug, Default)]
pub struct Embedded {
    /// The vectors, concatenated in the order of the texts.
    pub vectors: Vec<f32>,
    /// The tokens of each text; empty for a built-in embedder, which has none.
    pub texts: Vec<TextTokens>,
}

type Loaded = HashMap<(String, Vec<DeviceSpec>, LongTexts), Embedder>;
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

impl Embedder {
    /// The embedder with this name: `builtin:words`, `builtin:style`, a folder, or a hub id. A trained
    /// model is loaded on all of the devices. `long_texts` says how it reads texts that are longer than its
    /// maximum; the built-in ones have none.
    ///
    /// # Errors
    /// When the name is unknown, or the model cannot be loaded.
    pub fn named(name: &str, devices: &[DeviceSpec], long_texts: LongTexts) -> Result<Self> {
        let unknown = || Error::Unknown {
            what: "model",
            given: name.to_owned(),
            known: format!(
                "{}, {}, a folder with config.json, a hub id OWNER/NAME[@REVISION]",
                words::NAME,
                style::NAME
            ),
        };
        match name {
            words::NAME => return Ok(Self::HashedNgrams),
            style::NAME => return Ok(Self::Stylometric),
            _ if name.starts_with("builtin:") => return Err(unknown()),
            _ => (),
        }
        let (model, _) = name.rsplit_once('#').unwrap_or((name, ""));
        if !std::path::Path::new(model).exists() && !is_hub_id(model) {
            return Err(unknown());
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |long_texts| (name.to_owned(), devices.to_vec(), long_texts);
        if let Some(cached) = loaded.get(&key(long_texts)) {
            return Ok(cached.clone());
        }
        let other = match long_texts {
            LongTexts::Truncate => LongTexts::Mean,
            LongTexts::Mean => LongTexts::Truncate,
        };
        let trained = match loaded.get(&key(other)) {
            Some(Self::Transformer(trained, _)) => trained.with_long_texts(long_texts),
            _ => ModelPool::load(name, devices, long_texts)?,
        };
        let trained = Arc::new(trained);
        let batcher = Batcher::start(Arc::clone(&trained))?;
        let embedder = Self::Transformer(trained, batcher);
        loaded.insert(key(long_texts), embedder.clone());
        Ok(embedder)
    }

    /// The name of the embedder.
    pub fn name(&self) -> &str {
        match self {
            Self::HashedNgrams => words::NAME,
            Self::Stylometric => style::NAME,
            Self::Transformer(trained, _) => &trained.model().name,
        }
    }

    /// The revision of the embedder: vectors of different revisions are not comparable. It ends in `-mean` for
    /// means over the windows of long texts.
    pub fn revision(&self) -> &str {
        match self {
            Self::HashedNgrams => words::REVISION,
            Self::Stylometric => style::REVISION,
            Self::Transformer(trained, _) => trained.revision(),
        }
    }

    /// How texts are read that are longer than the model's maximum; `None` without a limit.
    pub fn long_texts(&self) -> Option<LongTexts> {
        match self {
            Self::HashedNgrams | Self::Stylometric => None,
            Self::Transformer(trained, _) => Some(trained.long_texts()),
        }
    }

    /// The Arrow field metadata of its vectors: `model` and `revision`.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            ("model".to_owned(), self.name().to_owned()),
            ("revision".to_owned(), self.revision().to_owned()),
        ])
    }

    /// The dimension of its vectors.
    pub fn dimension(&self) -> usize {
        match self {
            Self::HashedNgrams => words::DIMENSION,
            Self::Stylometric => style::DIMENSION,
            Self::Transformer(trained, _) => trained.model().dimension,
        }
    }

    /// The default shard size: the number of texts that a long job embeds per commit.
    pub fn default_shard_size(&self) -> usize {
        match self {
            Self::HashedNgrams | Self::Stylometric => 8192,
            Self::Transformer(trained, _) => trained.default_shard_size(),
        }
    }

    /// The maximum length of a text in tokens, special tokens included; `None` without a limit.
    pub fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::HashedNgrams | Self::Stylometric => None,
            Self::Transformer(trained, _) => Some(trained.model().max_seq_length),
        }
    }

    /// The batch size in tokens after out-of-memory errors reduced it; `None` if it was not reduced.
    pub fn reduced_budget(&self) -> Option<usize> {
        match self {
            Self::HashedNgrams | Self::Stylometric => None,
            Self::Transformer(trained, _) => trained.reduced_budget(),
        }
    }

    /// A notice about the model's license that is shown once; `None` if there is none.
    pub fn license_notice(&self) -> Option<&str> {
        match self {
            Self::Transformer(trained, _) => trained.model().license_notice.as_deref(),
            Self::HashedNgrams | Self::Stylometric => None,
        }
    }

    /// The vectors of texts. `done` is called after each batch with its numbers of texts and tokens.
    ///
    /// # Errors
    /// When a trained model fails, as by running out of memory.
    pub fn embed(&self, texts: &[&str], done: &(dyn Fn(usize, usize) + Sync)) -> Result<Embedded> {
        let embed = match self {
            Self::HashedNgrams => words::embed,
            Self::Stylometric => style::embed,
            Self::Transformer(trained, _) => return trained.embed(texts, done),
        };
        let mut vectors = vec![0.0; texts.len() * self.dimension()];
        vectors
            .par_chunks_mut(self.dimension())
            .zip(texts)
            .for_each(|(vector, text)| embed(text, vector));
        done(texts.len(), 0);
        Ok(Embedded {
            vectors,
            ..Embedded::default()
        })
    }

    /// The vectors of a query's texts, through the request queue that all queries share.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_batched(&self, texts: Vec<String>) -> Result<Vec<f32>> {
        match self {
            Self::Transformer(_, batcher) => batcher.embed(texts),
            Self::HashedNgrams | Self::Stylometric => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                Ok(self.embed(&texts, &|_, _| ())?.vectors)
            }
        }
    }
}
