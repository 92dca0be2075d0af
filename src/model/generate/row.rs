//! Output row: one text of a model to a prompt, as a JSON line that `eval` reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use polyphony_io::atomic::write_atomic;

/// A row of an output file. Fields that do not apply are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRow {
    /// Model name.
    pub model: String,
    /// Prompt id.
    pub prompt_id: String,
    /// Index of the text among the texts to its prompt, from 0.
    pub sample: usize,
    /// The content of the prompt's last message, without an instruction that prompting added.
    pub prompt: String,
    /// The text.
    pub response: String,
    /// Number of generated tokens, without the EOS token; only of a text that is a whole completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Why generation ended: `stop`, `length` (the text is truncated), or another reason of an API.
    pub finish_reason: String,
    /// Verbalized sampling: the probability that the model gave, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Verbalized sampling: index of the completion with this answer among those of the prompt, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_index: Option<usize>,
    /// Factor of the adapter's update, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_scale: Option<f64>,
}

/// A row of the file `OUT.unparsed`: a completion, or a part of one, that is not in the output, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnparsedRow {
    /// Prompt id, or the `custom_id` of a response to no request.
    pub prompt_id: String,
    /// Index of the completion among those of the prompt, from 0.
    pub completion_index: usize,
    /// Reason: a name such as `no_answer`.
    pub reason: String,
    /// The text that was not read.
    pub text: String,
}

/// A path with an ending appended: `out.jsonl` and `json` give `out.jsonl.json`.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Writes rows as JSON lines, atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)?;
        bytes.push(b'\n');
    }
    write_atomic(path, &bytes)
}

/// Writes `OUT.unparsed`, or removes that of an earlier run if every text was read.
///
/// # Errors
/// When the file cannot be written or removed.
pub fn write_unparsed(out: &Path, rows: &[UnparsedRow]) -> Result<()> {
    let path = with_ending(out, UNPARSED);
    if !rows.is_empty() {
        return write_rows(&path, rows);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// The ending of the file of texts that were not read. It is no ending of a file of rows, so that `eval` skips the
/// file in a folder of outputs.
pub const UNPARSED: &str = "unparsed";

/// The ending of the file of whole completions, whose answers are the rows of the output.
pub const COMPLETIONS: &str = "completions";
