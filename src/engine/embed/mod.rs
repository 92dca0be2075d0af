//! Which vectors do texts have? The embedders, by name.

pub mod job;
pub mod style;
pub mod words;

use rayon::prelude::*;

use crate::{Error, Result};

/// An embedder: turns a text into a vector of length 1 (a text without content gives zeros).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Embedder {
    /// `builtin:words`, see [`words`].
    Words,
    /// `builtin:style`, see [`style`].
    Style,
}

impl Embedder {
    /// Finds an embedder by name.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those there are.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            words::NAME => Ok(Self::Words),
            style::NAME => Ok(Self::Style),
            _ => Err(Error::Unknown {
                what: "model",
                given: name.to_owned(),
                known: format!("{}, {}", words::NAME, style::NAME),
            }),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Words => words::NAME,
            Self::Style => style::NAME,
        }
    }

    /// The version of what it computes: vectors of different revisions do not mix.
    pub const fn revision(self) -> &'static str {
        match self {
            Self::Words => words::REVISION,
            Self::Style => style::REVISION,
        }
    }

    /// How many values its vectors have.
    pub const fn dimension(self) -> usize {
        match self {
            Self::Words => words::DIMENSION,
            Self::Style => style::DIMENSION,
        }
    }

    /// The vectors of texts, one after another.
    pub fn embed(self, texts: &[&str]) -> Vec<f32> {
        let mut vectors = vec![0.0; texts.len() * self.dimension()];
        let embed = match self {
            Self::Words => words::embed,
            Self::Style => style::embed,
        };
        vectors
            .par_chunks_mut(self.dimension())
            .zip(texts)
            .for_each(|(vector, text)| embed(text, vector));
        vectors
    }
}
