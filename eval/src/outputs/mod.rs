//! Outputs: the texts of models to prompts, read from the files of many tools.

mod adapter;
mod adapter_scale;
mod columns;
mod files;
pub mod gold;
mod json_value;
mod layouts;
mod loader;
pub(crate) mod runs;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use polyphony_engine::Result;
use polyphony_io::hash::sha256_parts;
use polyphony_io::progress::Progress;
use serde::Serialize;

pub use self::adapter::{Adapter, Influence};
pub use self::adapter_scale::AdapterScale;
pub use self::columns::Columns;
use self::loader::Loader;
pub use self::table::{batch, schema};
use crate::space::PerSpace;
use crate::text::equivalence::classes;

/// One text of a model to a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// The name of the model.
    pub model: String,
    /// The seed of the training run, for a model of several runs.
    pub run: Option<String>,
    /// The id of the prompt.
    pub prompt_id: String,
    /// The text of the prompt; empty if the file has none.
    pub prompt: String,
    /// The index of the text among the texts of the model, or of its run, to that prompt, from 0.
    pub sample: i64,
    /// The text itself.
    pub response: String,
    /// The score or reward in the file, if any.
    pub score: Option<f64>,
    /// The utility for a reader, 1 to 10, if the file has one (`NoveltyBench`).
    pub utility: Option<f64>,
    /// The equivalence class: equivalent texts of a model to a prompt have the same number.
    pub class: Option<i64>,
    /// The deviation in the file, by space, if any.
    pub given: PerSpace<Option<f64>>,
    /// The scale of the adapter in the file, if any.
    pub adapter_scale: Option<AdapterScale>,
}

impl Output {
    /// Whether both texts are of the same model, run and prompt.
    pub fn same_group(&self, other: &Self) -> bool {
        (&self.model, &self.run, &self.prompt_id) == (&other.model, &other.run, &other.prompt_id)
    }

    /// The model with its run: `NAME@SEED` for a model of several runs, else the name.
    pub fn model_and_run(&self) -> String {
        match &self.run {
            Some(seed) => format!("{}@{seed}", self.model),
            None => self.model.clone(),
        }
    }
}

/// A file of outputs.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    /// The file name, without folders.
    pub file: String,
    /// The path of the file or store; in a report relative to the report's folder.
    pub path: String,
    /// The SHA-256 of the file (for a store: of its manifest), in hexadecimal.
    pub sha256: String,
    /// The number of rows.
    pub rows: u64,
    /// The number of texts in the rows.
    pub responses: u64,
    /// The column of scores, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// The reward model of these scores, if a column `reward_model` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<String>,
    /// The training of the adapter that wrote the texts, by the manifest of `polyphony generate` beside the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
}

/// The texts of all files.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The texts, sorted by model, prompt, run and sample.
    pub rows: Vec<Output>,
    /// The input files.
    pub inputs: Vec<Input>,
    /// Warnings about rows and texts.
    pub warnings: Vec<String>,
}

impl Outputs {
    /// Sorts the texts by model, prompt, run (by number) and sample.
    fn sort(&mut self) {
        let run = |row: &Output| row.run.clone().map(|run| (run.len(), run));
        let key = |row: &Output| {
            (
                row.model.clone(),
                row.prompt_id.clone(),
                run(row),
                row.sample,
            )
        };
        self.rows.sort_by_cached_key(key);
    }
}

/// Sets the equivalence class of each text by ROUGE-1, among the texts of the same model and prompt. `rows`
/// must be sorted by model and prompt.
pub fn classify(rows: &mut [Output]) {
    for group in rows.chunk_by_mut(Output::same_group) {
        let texts: Vec<&str> = group.iter().map(|row| row.response.as_str()).collect();
        let classes = classes(&texts);
        for (row, class) in group.iter_mut().zip(classes) {
            row.class = Some(class);
        }
    }
}

/// The model name of human-written texts.
pub const GOLD: &str = "gold";

/// A path of outputs on the command line: `[MODEL=]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPath {
    /// The model name, which takes precedence over that in the file.
    pub model: Option<String>,
    /// The path of a file or folder.
    pub path: PathBuf,
}

impl OutputPath {
    /// Parses `PATH` or `MODEL=PATH`. An existing path is taken as a path even if it contains an equals sign.
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

/// A 128-bit digest of strings, to test for equality.
fn digest(parts: &[&str]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha256_parts(parts)[..16]);
    half
}

/// Reads outputs; a file that is listed several times is read once.
///
/// # Errors
/// When a file cannot be read, has no text, is listed with two model names, or has texts of a model and prompt
/// that another file has as well.
pub fn read(paths: &[OutputPath], columns: &Columns, progress: &dyn Progress) -> Result<Outputs> {
    let mut loader = Loader::default();
    for (source, model) in files::find(paths)? {
        loader.load(&source, model, columns, progress)?;
    }
    loader.finish()
}
