//! Outputs: texts that models wrote to prompts, read from the files of many tools.

mod columns;
mod files;
pub mod gold;
mod json_value;
mod layouts;
mod loader;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use polyphony_engine::Result;
use polyphony_io::hash::sha256_parts;
use polyphony_io::progress::Progress;
use serde::Serialize;

pub use self::columns::Columns;
use self::loader::Loader;
pub use self::table::{batch, schema};
use crate::space::PerSpace;
use crate::text::equivalence::classes;

/// One text that a model wrote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// The model.
    pub model: String,
    /// The id of the prompt.
    pub prompt_id: String,
    /// The prompt; empty where the file has none.
    pub prompt: String,
    /// The number of the text among the model's texts to that prompt, from 0.
    pub sample: i64,
    /// The text.
    pub response: String,
    /// The score or reward in the file.
    pub score: Option<f64>,
    /// The utility for a reader, 1 to 10, where the file has one (`NoveltyBench`).
    pub utility: Option<f64>,
    /// The equivalence class: texts of one meaning share it.
    pub class: Option<i64>,
    /// The deviation in the file, by space.
    pub given: PerSpace<Option<f64>>,
}

impl Output {
    /// Whether both are of one model, to one prompt.
    pub fn same_group(&self, other: &Self) -> bool {
        (&self.model, &self.prompt_id) == (&other.model, &other.prompt_id)
    }
}

/// A file of outputs.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    /// Its name, without folders.
    pub file: String,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// The number of rows.
    pub rows: u64,
    /// The number of texts in them.
    pub responses: u64,
    /// The column of its scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// The reward model of these scores, where a column `reward_model` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<String>,
}

/// The texts of all files.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The texts, by model, prompt and sample.
    pub rows: Vec<Output>,
    /// The files.
    pub inputs: Vec<Input>,
    /// Warnings about rows and texts.
    pub warnings: Vec<String>,
}

impl Outputs {
    /// Brings the texts into their order.
    fn sort(&mut self) {
        let key = |row: &Output| (row.model.clone(), row.prompt_id.clone(), row.sample);
        self.rows.sort_by_cached_key(key);
    }
}

/// Gives each text an equivalence class by ROUGE-1, among the texts of its model to its prompt. Rows are
/// sorted by model and prompt.
pub fn classify(rows: &mut [Output]) {
    for group in rows.chunk_by_mut(Output::same_group) {
        let texts: Vec<&str> = group.iter().map(|row| row.response.as_str()).collect();
        let classes = classes(&texts);
        for (row, class) in group.iter_mut().zip(classes) {
            row.class = Some(class);
        }
    }
}

/// The model's name for what people wrote.
pub const GOLD: &str = "gold";

/// A path of outputs on the command line: `[MODEL=]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPath {
    /// The model, which takes precedence over that of the file.
    pub model: Option<String>,
    /// The path.
    pub path: PathBuf,
}

impl OutputPath {
    /// Parses `PATH` or `MODEL=PATH`. A path that exists is one, even with an equals sign.
    pub fn parse(text: &str) -> Self {
        if !Path::new(text).exists()
            && let Some((model, path)) = text.split_once('=')
            && !model.is_empty()
        {
            return Self {
                model: Some(model.to_owned()),
                path: path.into(),
            };
        }
        Self {
            model: None,
            path: text.into(),
        }
    }
}

/// A short digest of texts, to tell whether they are equal.
fn digest(parts: &[&str]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha256_parts(parts)[..16]);
    half
}

/// Reads outputs, each file once.
///
/// # Errors
/// When a file cannot be read, holds no text, is named twice with different models, or has texts of a model and
/// prompt that another file has, too.
pub fn read(paths: &[OutputPath], columns: &Columns, progress: &dyn Progress) -> Result<Outputs> {
    let mut loader = Loader::default();
    for (source, model) in files::find(paths)? {
        loader.load(&source, model, columns, progress)?;
    }
    loader.finish()
}
