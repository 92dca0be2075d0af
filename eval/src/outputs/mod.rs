//! What did which model write to which prompt? Outputs of any model, as files come.

mod columns;
mod files;
pub mod gold;
mod reading;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polyphony_engine::Result;
use polyphony_io::progress::Progress;
use serde::Serialize;

pub use self::columns::Columns;
use self::reading::Reading;
pub use self::table::{batch, schema};
use crate::measure::classes::classes;

/// One text that a model wrote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// Who wrote it.
    pub model: String,
    /// To which prompt.
    pub prompt_id: String,
    /// The prompt; empty where the file does not say it.
    pub prompt: String,
    /// Which of the model's texts to that prompt it is, from 0.
    pub sample: i64,
    /// The text.
    pub response: String,
    /// How good it was found.
    pub score: Option<f64>,
    /// What it is worth to a reader, from 1 to 10, where the file says so (`NoveltyBench`).
    pub utility: Option<f64>,
    /// What it says, as a class that texts of one meaning share.
    pub class: Option<i64>,
    /// Its diversity as the file gives it, by space.
    pub given: [Option<f64>; 2],
}

impl Output {
    /// Whether both are of one model, to one prompt.
    pub fn same_cell(&self, other: &Self) -> bool {
        (&self.model, &self.prompt_id) == (&other.model, &other.prompt_id)
    }
}

/// A file that was read.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    /// Its name, without folders.
    pub file: String,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many texts it gave.
    pub responses: u64,
    /// The column of its scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// The reward model that gave them, where a column `reward_model` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<String>,
}

/// All that was read.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The texts, by model, prompt and sample.
    pub rows: Vec<Output>,
    /// The files.
    pub inputs: Vec<Input>,
    /// How many rows were refused or stand out, by reason.
    pub counts: BTreeMap<&'static str, u64>,
    /// What the reader must know of them.
    pub notices: Vec<String>,
}

impl Outputs {
    /// Brings the texts into their order.
    fn sort(&mut self) {
        let key = |row: &Output| (row.model.clone(), row.prompt_id.clone(), row.sample);
        self.rows.sort_by_cached_key(key);
    }
}

/// Gives each text the class of those of its model to its prompt that share most of its words. Rows are
/// by model and prompt.
pub fn classify(rows: &mut [Output]) {
    for group in rows.chunk_by_mut(Output::same_cell) {
        let texts: Vec<&str> = group.iter().map(|row| row.response.as_str()).collect();
        let classes = classes(&texts);
        for (row, class) in group.iter_mut().zip(classes) {
            row.class = Some(class);
        }
    }
}

/// The model's name for what people wrote.
pub const GOLD: &str = "gold";

/// A file or folder of outputs, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The model, where the command line says it: it goes before what the file says.
    pub model: Option<String>,
    /// The path.
    pub path: PathBuf,
}

impl Named {
    /// Reads `PATH` or `NAME=PATH`. A path that is there is taken as it is.
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

/// Reads outputs, each file once.
///
/// # Errors
/// When a file cannot be read, holds no text, stands there under two names, or claims texts that
/// another file gave.
pub fn read(named: &[Named], columns: &Columns, progress: &dyn Progress) -> Result<Outputs> {
    let mut reading = Reading::default();
    for (source, model) in files::find(named)? {
        reading.file(&source, model, columns, progress)?;
    }
    reading.finish()
}
