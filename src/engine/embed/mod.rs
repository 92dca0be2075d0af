//! Which vectors do texts have? The embedders, by name.

pub mod batcher;
pub mod style;
pub mod trained;
pub mod words;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rayon::prelude::*;

use self::batcher::Batcher;
use self::trained::Trained;
use crate::{Error, Result};
use polyphony_model::device::Place;
use polyphony_model::files::is_hub_id;

/// An embedder: turns a text into a vector.
#[derive(Debug, Clone)]
pub enum Embedder {
    /// `builtin:words`, see [`words`].
    Words,
    /// `builtin:style`, see [`style`].
    Style,
    /// A trained model, loaded once a process, and the queue to it.
    Trained(Arc<Trained>, Batcher),
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

type Loaded = HashMap<(String, Vec<Place>), Embedder>;
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

impl Embedder {
    /// Finds an embedder by name: `builtin:words`, `builtin:style`, a folder, or a hub id. A trained
    /// one runs on the devices given.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be loaded.
    pub fn named(name: &str, places: &[Place]) -> Result<Self> {
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
            words::NAME => return Ok(Self::Words),
            style::NAME => return Ok(Self::Style),
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
        let trained = Arc::new(Trained::load(name, places)?);
        let batcher = Batcher::start(Arc::clone(&trained))?;
        let embedder = Self::Trained(trained, batcher);
        loaded.insert(key, embedder.clone());
        Ok(embedder)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Words => words::NAME,
            Self::Style => style::NAME,
            Self::Trained(trained, _) => &trained.model().name,
        }
    }

    /// The version of what it computes: vectors of different revisions do not mix.
    pub fn revision(&self) -> &str {
        match self {
            Self::Words => words::REVISION,
            Self::Style => style::REVISION,
            Self::Trained(trained, _) => &trained.model().revision,
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
            Self::Words => words::DIMENSION,
            Self::Style => style::DIMENSION,
            Self::Trained(trained, _) => trained.model().dimension,
        }
    }

    /// How many texts a long job embeds before it commits them.
    pub fn texts_a_shard(&self) -> usize {
        match self {
            Self::Words | Self::Style => 8192,
            Self::Trained(trained, _) => trained.texts_a_shard(),
        }
    }

    /// The number of tokens at which texts are cut; none where no text is.
    pub fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::Words | Self::Style => None,
            Self::Trained(trained, _) => Some(trained.model().max_tokens),
        }
    }

    /// How small batches have become, in tokens, because memory ran out; none when it never did.
    pub fn reduced_budget(&self) -> Option<usize> {
        match self {
            Self::Words | Self::Style => None,
            Self::Trained(trained, _) => trained.reduced_budget(),
        }
    }

    /// What its users must be told once, as its licence.
    pub fn notice(&self) -> Option<&str> {
        match self {
            Self::Trained(trained, _) => trained.model().notice.as_deref(),
            Self::Words | Self::Style => None,
        }
    }

    /// The vectors of texts. `done` hears of the texts and tokens of each batch that is through.
    ///
    /// # Errors
    /// When a trained model fails.
    pub fn embed(&self, texts: &[&str], done: &(dyn Fn(usize, usize) + Sync)) -> Result<Embedded> {
        let embed = match self {
            Self::Words => words::embed,
            Self::Style => style::embed,
            Self::Trained(trained, _) => return trained.embed(texts, done),
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
    pub fn embed_queued(&self, texts: Vec<String>) -> Result<Vec<f32>> {
        match self {
            Self::Trained(_, batcher) => batcher.embed(texts),
            Self::Words | Self::Style => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                Ok(self.embed(&texts, &|_, _| ())?.vectors)
            }
        }
    }
}
