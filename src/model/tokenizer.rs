//! Tokenizers: loading a model's `tokenizer.json`, encoding texts, counting tokens.

use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::cache::LoadCache;
use crate::files::{ModelFiles, is_hub_id};
use crate::{Error, Result};
use polyphony_io::hash::{Sha256, hex};

static CACHE: LoadCache<String, CachedTokenizer> = LoadCache::new();

/// File name of a tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Whether encoding adds the special tokens of the tokenizer's post-processor, for example BOS (transformers:
/// `add_special_tokens`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Add special tokens.
    Add,
    /// Add none: the text already contains them, as a rendered chat does.
    Omit,
}

/// A tokenizer, and the hash of its file.
pub struct CachedTokenizer {
    /// The tokenizer; it neither truncates nor pads.
    pub tokenizer: Tokenizer,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Loads a tokenizer, once per process: a `tokenizer.json`, a folder with one, or a hub id.
///
/// # Errors
/// When the file is missing or invalid.
pub fn load_cached(name: &str) -> Result<Arc<CachedTokenizer>> {
    CACHE.get_or_load(name.to_owned(), || {
        let path = Path::new(name);
        let file = if path.is_dir() || is_hub_id(name) {
            ModelFiles::find_model(name)?.require(TOKENIZER_FILE)?
        } else {
            path.to_path_buf()
        };
        let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let hint = "name a tokenizer.json, a folder with one, or a hub id";
        let mut tokenizer =
            Tokenizer::from_bytes(bytes).map_err(|error| invalid(&file, &error, hint))?;
        disable_padding_and_truncation(&mut tokenizer);
        Ok(CachedTokenizer { tokenizer, sha256 })
    })
}

/// Loads a model's tokenizer with the truncation and padding that its file configures, or that of its GGUF file.
///
/// # Errors
/// When the file is missing or invalid.
pub(crate) fn load(files: &ModelFiles) -> Result<Tokenizer> {
    if let Some(gguf) = files.gguf()
        && files.find(TOKENIZER_FILE)?.is_none()
    {
        return gguf.tokenizer();
    }
    let path = files.require(TOKENIZER_FILE)?;
    Tokenizer::from_file(&path).map_err(|error| invalid(&path, &error, "fetch the model again"))
}

/// Disables the truncation and padding that a tokenizer's file may configure.
pub(crate) fn disable_padding_and_truncation(tokenizer: &mut Tokenizer) {
    // This cannot fail: only an invalid truncation stride is an error.
    drop(tokenizer.with_truncation(None));
    tokenizer.with_padding(None);
}

/// The error for an invalid tokenizer file.
pub(crate) fn invalid(path: &Path, error: &tokenizers::Error, hint: &str) -> Error {
    Error::input(path, format!("is not a valid tokenizer ({error})"), hint)
}

/// The error for a text that a model's tokenizer cannot encode.
pub(crate) fn encode_error(model: &str, error: &tokenizers::Error) -> Error {
    Error::input(
        model,
        format!("its tokenizer cannot encode a text ({error})"),
        "check the text and tokenizer.json",
    )
}

/// The number of tokens of each text, special tokens included.
///
/// # Errors
/// When the tokenizer cannot encode a text.
pub fn count_tokens(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Vec<i64>> {
    /// Texts are encoded in chunks, because an encoding takes many times the memory of its text.
    const TEXTS_PER_BATCH: usize = 64;
    let mut counts = Vec::with_capacity(texts.len());
    for texts in texts.chunks(TEXTS_PER_BATCH) {
        let encodings = tokenizer
            .encode_batch_fast(texts.to_vec(), true)
            .map_err(|error| encode_error("tokenizer", &error))?;
        counts.extend(encodings.iter().map(|encoding| encoding.len() as i64));
    }
    Ok(counts)
}
