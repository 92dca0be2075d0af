//! How many tokens has a text? As the tokenizer of the model to be trained counts them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokenizers::Tokenizer;

use super::files::{ModelFiles, is_hub_id};
use crate::{Error, Result};
use polyphony_io::hash::{Sha256, hex};

static LOADED: LazyLock<Mutex<HashMap<String, Loaded>>> = LazyLock::new(Mutex::default);

/// A tokenizer, and the SHA-256 of the file that it came from.
#[derive(Clone)]
pub struct Loaded {
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The hash, hex.
    pub sha256: String,
}

/// Loads a tokenizer once a process: a `tokenizer.json`, a folder that holds one, or a hub id.
///
/// # Errors
/// When there is none, or the file is no tokenizer.
pub fn load(name: &str) -> Result<Loaded> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.get(name) {
        return Ok(known.clone());
    }
    let path = Path::new(name);
    let file = if path.is_dir() || is_hub_id(name) {
        ModelFiles::find_model(name)?.require("tokenizer.json")?
    } else {
        path.to_path_buf()
    };
    let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| {
        Error::input(
            &file,
            format!("is no tokenizer ({error})"),
            "name a tokenizer.json, a folder that holds one, or a hub id",
        )
    })?;
    // A file may ask for truncation or padding; a count wants neither.
    drop(tokenizer.with_truncation(None));
    tokenizer.with_padding(None);
    let known = Loaded {
        tokenizer: Arc::new(tokenizer),
        sha256,
    };
    loaded.insert(name.to_owned(), known.clone());
    Ok(known)
}

/// How many tokens each text has, with the special tokens that the tokenizer adds.
///
/// # Errors
/// When the tokenizer refuses a text.
pub fn count(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Vec<i64>> {
    let mut counts = Vec::with_capacity(texts.len());
    // An encoding is many times larger than its text: few are held at once.
    for texts in texts.chunks(64) {
        let encodings = tokenizer
            .encode_batch_fast(texts.to_vec(), true)
            .map_err(|error| {
                let refused = format!("refuses a text ({error})");
                Error::input(
                    "tokenizer",
                    refused,
                    "check the text and the tokenizer.json",
                )
            })?;
        counts.extend(encodings.iter().map(|encoding| encoding.len() as i64));
    }
    Ok(counts)
}
