//! GGUF: model files of llama.cpp, one file with weights (mostly quantised), settings and tokenizer. Weights are
//! dequantised when they are loaded; names and layouts become those of transformers.
//!
//! Specification: `docs/gguf.md` of ggml-org/ggml.

mod config;
#[cfg(test)]
mod golden;
mod tensors;
mod tokenizer;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};

use crate::{Error, Result};

/// The extension of GGUF files.
pub const EXTENSION: &str = "gguf";

/// A GGUF file, with its metadata in memory.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    content: Content,
}

impl GgufFile {
    /// Opens a file and reads its metadata.
    ///
    /// # Errors
    /// When the file is no GGUF file, is cut off, or has tensors of a type that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let content = Content::read(&mut BufReader::new(file)).map_err(|error| {
            let message = error.to_string();
            let first = message.lines().next().unwrap_or_default();
            Error::input(
                path,
                format!("cannot be read as GGUF ({first})"),
                "fetch it again, or choose the model in F16, Q8_0 or a K quantisation (Q4_K_M)",
            )
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            content,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture, as llama.cpp names it: `llama`, `qwen2`, `gemma3`.
    fn architecture(&self) -> Result<&str> {
        self.text("general.architecture")
            .ok_or_else(|| self.without("general.architecture"))
    }

    /// A setting of the architecture, for example `gemma3.block_count` for `block_count`.
    fn setting(&self, name: &str) -> Option<&Value> {
        let architecture = self.architecture().ok()?;
        self.content.metadata.get(&format!("{architecture}.{name}"))
    }

    /// A text of the metadata.
    fn text(&self, key: &str) -> Option<&str> {
        match self.content.metadata.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A token id of the metadata.
    fn id(&self, key: &str) -> Option<usize> {
        integer(self.content.metadata.get(key)?)
    }

    /// A flag of the metadata.
    fn flag(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    /// A list of the metadata.
    fn list(&self, key: &str) -> Option<&[Value]> {
        match self.content.metadata.get(key)? {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }

    /// A list of texts of the metadata.
    fn texts(&self, key: &str) -> Option<Vec<&str>> {
        let texts = self.list(key)?.iter().map(|value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The error for metadata that are missing or of another type.
    fn without(&self, key: &str) -> Error {
        Error::input(
            &self.path,
            format!("has no valid `{key}` in its metadata"),
            "fetch the model again, or name its folder of safetensors",
        )
    }
}

/// A whole number of at least 0, of any integer type.
fn integer(value: &Value) -> Option<usize> {
    let signed = |value: i64| usize::try_from(value).ok();
    match value {
        Value::I8(value) => signed((*value).into()),
        Value::I16(value) => signed((*value).into()),
        Value::I32(value) => signed((*value).into()),
        Value::I64(value) => signed(*value),
        other => other.to_u64().ok().map(|value| value as usize),
    }
}

/// A number of any type.
fn number(value: &Value) -> Option<f64> {
    match value {
        // Decimal digits of an f32, so that 1e-6 is not 9.999999974752427e-7.
        Value::F32(value) => value.to_string().parse().ok(),
        Value::F64(value) => Some(*value),
        other => integer(other).map(|value| value as f64),
    }
}
