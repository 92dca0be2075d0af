//! What did which model write to which prompt? Outputs of any model, as files come.

pub mod gold;
mod row;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use polyphony_engine::ingest::source::{self, Source};
use polyphony_engine::ingest::table as engine_table;
use polyphony_engine::progress::{Progress, Unit};
use polyphony_engine::{Error, Result};
use serde::Serialize;

pub use self::row::Columns;
pub use self::table::{batch, schema};

/// One text that a model wrote.
#[derive(Debug, Clone, PartialEq)]
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
    /// What it says, as a class that texts of one meaning share.
    pub class: Option<i64>,
    /// Its diversity as the file gives it, by space.
    pub given: [Option<f64>; 2],
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

/// Reads outputs.
///
/// # Errors
/// When a file cannot be read, holds no text, or claims texts that another file gave.
pub fn read(named: &[Named], columns: &Columns, progress: &dyn Progress) -> Result<Outputs> {
    let mut reading = Reading::default();
    for Named { model, path } in named {
        for source in source::find(std::slice::from_ref(path), true)? {
            reading.file(&source, model.as_deref(), columns, progress)?;
        }
    }
    Ok(reading.finish())
}

/// What is known while files are read.
#[derive(Default)]
struct Reading {
    outputs: Outputs,
    /// Which file gave a model's texts to a prompt.
    from: HashMap<(String, String), String>,
    /// How many texts a model has to a prompt.
    samples: HashMap<(String, String), i64>,
    seen: HashSet<(String, String, i64, String)>,
}

impl Reading {
    fn file(
        &mut self,
        source: &Source,
        model: Option<&str>,
        columns: &Columns,
        progress: &dyn Progress,
    ) -> Result<()> {
        let label = row::label(&source.path);
        progress.begin(&label, Some(source.bytes), Unit::Bytes);
        let mut input = Input {
            file: label,
            sha256: String::new(),
            rows: 0,
            responses: 0,
            score: None,
        };
        let mut names = Vec::new();
        let author = row::author(&source.path);
        let ending = engine_table::read(source, progress, &mut |(_, object)| {
            input.rows += 1;
            let Ok(object) = object else {
                *self
                    .outputs
                    .counts
                    .entry("a row that is no object")
                    .or_default() += 1;
                return Ok(());
            };
            if input.rows == 1 {
                names = object.keys().cloned().collect();
                columns.check(&object, &source.path)?;
            }
            let texts = row::texts(&object, columns, &author, model);
            if texts.is_empty() {
                *self
                    .outputs
                    .counts
                    .entry("a row without a text and a prompt")
                    .or_default() += 1;
            }
            for text in texts {
                if input.score.is_none() {
                    input.score.clone_from(&text.score_column);
                }
                input.responses += 1;
                self.text(text, &source.path)?;
            }
            Ok(())
        })?;
        progress.end();
        if let Some(why) = ending.truncated {
            let problem = format!("ends before its end ({why})");
            return Err(Error::source(&source.path, problem, "fetch it again"));
        }
        if input.responses == 0 {
            let problem = match names.join(", ") {
                none if none.is_empty() => "holds no output, nor any object".to_owned(),
                names => format!("holds no output; its columns are {names}"),
            };
            let remedy = "say which is which: --columns model=..,prompt=..,response=..";
            return Err(Error::source(&source.path, problem, remedy));
        }
        input.sha256 = ending.sha256;
        self.outputs.inputs.push(input);
        Ok(())
    }

    fn text(&mut self, text: row::Text, path: &Path) -> Result<()> {
        let key = (text.model.clone(), text.prompt_id.clone());
        let file = path.display().to_string();
        let owner = self.from.entry(key.clone()).or_insert_with(|| file.clone());
        if *owner != file {
            let problem = format!(
                "has texts of `{}` to prompt {}, and so has {owner}",
                text.model, text.prompt_id
            );
            let remedy = "give one another name: NAME=FILE";
            return Err(Error::source(path, problem, remedy));
        }
        if let Some(sample) = text.sample {
            let whole = (key.0.clone(), key.1.clone(), sample, text.response.clone());
            if !self.seen.insert(whole) {
                *self
                    .outputs
                    .counts
                    .entry("a row that stands there twice")
                    .or_default() += 1;
                return Ok(());
            }
        }
        if text.score_is_no_number {
            *self
                .outputs
                .counts
                .entry("a score that is no number")
                .or_default() += 1;
        }
        if text.response.trim().is_empty() {
            *self
                .outputs
                .counts
                .entry("an empty text (it counts as one)")
                .or_default() += 1;
        }
        let sample = self.samples.entry(key).or_default();
        self.outputs.rows.push(Output {
            model: text.model,
            prompt_id: text.prompt_id,
            prompt: text.prompt,
            sample: *sample,
            response: text.response,
            score: text.score,
            class: text.class,
            given: text.given,
        });
        *sample += 1;
        Ok(())
    }

    fn finish(mut self) -> Outputs {
        let outputs = &mut self.outputs;
        outputs.sort();
        for (what, count) in &outputs.counts {
            outputs.notices.push(format!("{count} times {what}."));
        }
        if let Some(notice) = unlike_prompts(&outputs.rows) {
            outputs.notices.push(notice);
        }
        self.outputs
    }
}

/// Says where one `prompt_id` stands for several prompts.
fn unlike_prompts(rows: &[Output]) -> Option<String> {
    let mut texts: HashMap<&str, &str> = HashMap::new();
    let mut unlike = Vec::new();
    for row in rows.iter().filter(|row| !row.prompt.is_empty()) {
        let first = texts.entry(&row.prompt_id).or_insert(&row.prompt);
        if first.trim() != row.prompt.trim() && !unlike.contains(&&*row.prompt_id) {
            unlike.push(&row.prompt_id);
        }
    }
    let first = unlike.first()?;
    Some(format!(
        "{} of {} prompt ids stand for unlike prompts (the first is {first}); their texts are \
         compared as if the prompts were the same.",
        unlike.len(),
        texts.len()
    ))
}
