//! Which vectors do texts have? The embedders, by name.

pub mod batcher;
pub mod style;
pub mod trained;
pub mod words;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rayon::prelude::*;

use self::batcher::Batcher;
use self::trained::ModelPool;
use crate::{Error, Result};
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::is_hub_id;

/// An embedder: turns a text into a vector.
#[derive(Debug, Clone)]
pub enum Embedder {
    /// `builtin:words`, see [`words`].
    HashedNgrams,
    /// `builtin:style`, see [`style`].
    Stylometric,
    /// A trained model, loaded once a process, and the queue to it.
    Transformer(Arc<ModelPool>, Batcher),
}

/// The vectors of texts, and what it took.
#[derive(Debug, Default)]
pub struct Embedded {
    /// The vectors, one after another.
    pub vectors: Vec<f32>,
    /// How many tokens a model saw.
    pub tokens: usize,
    /// How many texts were longer than the model takes, and were cut.
    pub truncated: usize,
}

type Loaded = HashMap<(String, Vec<DeviceSpec>), Embedder>;
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

impl Embedder {
    /// Finds an embedder by name: `builtin:words`, `builtin:style`, a folder, or a hub id. A trained
    /// one runs on the devices given.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be loaded.
    pub fn named(name: &str, places: &[DeviceSpec]) -> Result<Self> {
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
        let key = (name.to_owned(), places.to_vec());
        if let Some(known) = loaded.get(&key) {
            return Ok(known.clone());
        }
        let trained = Arc::new(ModelPool::load(name, places)?);
        let batcher = Batcher::start(Arc::clone(&trained))?;
        let embedder = Self::Transformer(trained, batcher);
        loaded.insert(key, embedder.clone());
        Ok(embedder)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::HashedNgrams => words::NAME,
            Self::Stylometric => style::NAME,
            Self::Transformer(trained, _) => &trained.model().name,
        }
    }

    /// The version of what it computes: vectors of different revisions do not mix.
    pub fn revision(&self) -> &str {
        match self {
            Self::HashedNgrams => words::REVISION,
            Self::Stylometric => style::REVISION,
            Self::Transformer(trained, _) => &trained.model().revision,
        }
    }

    /// What the field of its vectors says: the model and its revision.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            ("model".to_owned(), self.name().to_owned()),
            ("revision".to_owned(), self.revision().to_owned()),
        ])
    }

    /// How many values its vectors have.
    pub fn dimension(&self) -> usize {
        match self {
            Self::HashedNgrams => words::DIMENSION,
            Self::Stylometric => style::DIMENSION,
            Self::Transformer(trained, _) => trained.model().dimension,
        }
    }

    /// How many texts a long job embeds before it commits them.
    pub fn default_shard_size(&self) -> usize {
        match self {
            Self::HashedNgrams | Self::Stylometric => 8192,
            Self::Transformer(trained, _) => trained.default_shard_size(),
        }
    }

    /// The number of tokens at which texts are cut; none where no text is.
    pub fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::HashedNgrams | Self::Stylometric => None,
            Self::Transformer(trained, _) => Some(trained.model().max_seq_length),
        }
    }

    /// How small batches have become, in tokens, because memory ran out; none when it never did.
    pub fn reduced_budget(&self) -> Option<usize> {
        match self {
            Self::HashedNgrams | Self::Stylometric => None,
            Self::Transformer(trained, _) => trained.reduced_budget(),
        }
    }

    /// What its users must be told once, as its licence.
    pub fn license_notice(&self) -> Option<&str> {
        match self {
            Self::Transformer(trained, _) => trained.model().license_notice.as_deref(),
            Self::HashedNgrams | Self::Stylometric => None,
        }
    }

    /// The vectors of texts. `done` hears of the texts and tokens of each batch that is through.
    ///
    /// # Errors
    /// When a trained model fails.
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

    /// The vectors of texts of a query, which wait their turn among those of others.
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
