//! What is known while files are read? Whose texts they are, which were seen, and what stands out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format::RowFile;
use polyphony_io::hash::sha256_parts;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};
use serde_json::{Map, Value};

use super::columns::{Columns, PROMPT_ID};
use super::row::{self, Text};
use super::{Input, Output, Outputs};

/// The column that says which model gave the rewards.
const REWARD_MODEL: &str = "reward_model";

/// Columns of a file that are remembered, to name them.
const MOST_NAMES: usize = 1000;

/// What is known while files are read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) outputs: Outputs,
    /// Which file gave a model's texts to a prompt.
    from: HashMap<(String, String), PathBuf>,
    /// How many texts a model has to a prompt.
    samples: HashMap<(String, String), i64>,
    /// The texts that were read, by what tells them apart.
    seen: HashSet<[u8; 16]>,
    /// The ids of prompts that have none but what their text gives.
    ids_by_text: HashSet<String>,
    /// How many texts are as another of their model to their prompt.
    repeated: u64,
}

/// What is known of a file while it is read.
struct File<'a> {
    columns: &'a Columns,
    author: String,
    model: Option<&'a str>,
    /// The texts, and which row holds them.
    texts: Vec<(u64, Text)>,
    /// The column of the scores.
    score: Option<String>,
    /// The reward model that its rows name.
    judge: Option<String>,
    /// The first filter of a harness's document, and what the model said.
    filters: HashMap<String, (String, [u8; 16])>,
}

impl Reading {
    /// Reads a file.
    pub(super) fn file(
        &mut self,
        source: &RowFile,
        model: Option<&str>,
        columns: &Columns,
        progress: &dyn Progress,
    ) -> Result<()> {
        let label = row::label(&source.path);
        progress.start(&label, Some(source.bytes), Unit::Bytes);
        let (mut rows, mut names) = (0, BTreeSet::new());
        let mut file = File {
            columns,
            author: row::author(&source.path),
            model,
            texts: Vec::new(),
            score: None,
            judge: None,
            filters: HashMap::new(),
        };
        let is_row = |object: &Map<String, Value>| {
            let row = row::texts(object, columns, ("", model), &mut None);
            row.without > 0 || !row.texts.is_empty()
        };
        let options = ReadOptions {
            is_row: &is_row,
            ..ReadOptions::default()
        };
        let outcome = records::read(source, &options, progress, &mut |(_, object)| {
            rows += 1;
            let Ok(object) = object else {
                self.count("a row that is no object", 1);
                return Ok(());
            };
            // What is null may be left out of a row: all of them say which columns there are.
            for name in object.keys() {
                if names.len() < MOST_NAMES && !names.contains(name) {
                    names.insert(name.clone());
                }
            }
            if let Some(other) = file.is_of_another_judge(&object) {
                let message = format!("has rewards of two models: in row {rows}, of `{other}`");
                let hint =
                    "rewards of different models do not compare: part the file by reward_model";
                return Err(Error::input(&source.path, message, hint));
            }
            if file.is_of_another_filter(&object) {
                self.count("a row of another filter, whose texts were read", 1);
                return Ok(());
            }
            let without = file.row(rows, &object);
            match without {
                Some(without) => self.count("a place of a list without a text", without),
                None => self.count("a row without a text and a prompt", 1),
            }
            Ok(())
        })?;
        progress.finish();
        let outcome = outcome.require_complete(&source.path)?;
        if !names.is_empty() {
            columns.check(&names, &source.path)?;
        }
        if file.texts.is_empty() {
            let names: Vec<String> = names.into_iter().collect();
            let message = match names.join(", ") {
                none if none.is_empty() => "holds no output, nor any object".to_owned(),
                names => format!("holds no output; its columns are {names}"),
            };
            let hint = "say which is which: --columns model=..,prompt=..,response=..";
            return Err(Error::input(&source.path, message, hint));
        }
        file.of_task(&source.path);
        if file.by_prompt() {
            self.outputs.notices.push(format!(
                "{label}: every row has an id of its own, and prompts stand in several: its texts \
                 are grouped by what their prompts say (else say --columns prompt_id=..)."
            ));
        }
        self.outputs.inputs.push(Input {
            file: label,
            sha256: outcome.sha256,
            rows,
            responses: file.texts.len() as u64,
            score: file.score,
            reward_model: file.judge,
        });
        let mut texts = file.texts.into_iter();
        texts.try_for_each(|(_, text)| self.text(text, &source.path))
    }

    fn count(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.outputs.counts.entry(what).or_default() += times;
        }
    }

    /// Refuses texts of a model to a prompt from a second file.
    fn claim(&mut self, key: &(String, String), path: &Path) -> Result<()> {
        let owner = self.from.entry(key.clone());
        let owner = owner.or_insert_with(|| path.to_path_buf());
        if owner == path {
            return Ok(());
        }
        let (model, prompt) = key;
        let owner = owner.display();
        let message = format!("has texts of `{model}` to prompt {prompt}, and so has {owner}");
        let hint = "give one another name: NAME=FILE";
        Err(Error::input(path, message, hint))
    }

    fn text(&mut self, text: Text, path: &Path) -> Result<()> {
        let key = (text.model.clone(), text.prompt_id.clone());
        self.claim(&key, path)?;
        let sample = text.sample.map(|sample| sample.to_string());
        let sample = sample.as_deref().unwrap_or_default();
        if !self
            .seen
            .insert(digest(&[&key.0, &key.1, sample, &text.response]))
        {
            if text.sample.is_some() {
                self.count("a row that stands there twice", 1);
                return Ok(());
            }
            self.repeated += 1;
        }
        if text.score_is_no_number {
            self.count("a score that is no number", 1);
        }
        if text.response.trim().is_empty() {
            self.count("an empty text (it counts as one)", 1);
        }
        if !text.has_id {
            self.ids_by_text.insert(text.prompt_id.clone());
        }
        // The file's numbers say the order, else its lines.
        let sample = self.samples.entry(key).or_default();
        self.outputs.rows.push(Output {
            model: text.model,
            prompt_id: text.prompt_id,
            prompt: text.prompt,
            sample: text.sample.unwrap_or(*sample),
            response: text.response,
            score: text.score,
            utility: text.utility,
            class: text.class,
            given: text.given,
        });
        *sample += 1;
        Ok(())
    }

    /// All that was read, in its order.
    pub(super) fn finish(mut self) -> Result<Outputs> {
        self.match_by_text()?;
        let outputs = &mut self.outputs;
        outputs.sort();
        for group in outputs.rows.chunk_by_mut(Output::same_cell) {
            for (sample, row) in (0..).zip(group) {
                row.sample = sample;
            }
        }
        for (what, count) in &outputs.counts {
            outputs.notices.push(format!("{count} times {what}."));
        }
        if self.repeated > 0 {
            outputs.notices.push(format!(
                "{} texts equal another of the same model to the same prompt.",
                self.repeated
            ));
        }
        if let Some(license_notice) = unlike_prompts(&outputs.rows) {
            outputs.notices.push(license_notice);
        }
        Ok(self.outputs)
    }

    /// Gives the prompts that only their text names the id that another file has for the same text, where
    /// there is one and no other.
    fn match_by_text(&mut self) -> Result<()> {
        if self.ids_by_text.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.outputs.rows);
        let mut ids: HashMap<String, Option<String>> = HashMap::new();
        for row in rows
            .iter()
            .filter(|row| !self.ids_by_text.contains(&row.prompt_id))
        {
            let known = ids
                .entry(row.prompt.trim().to_owned())
                .or_insert_with(|| Some(row.prompt_id.clone()));
            if known.as_ref().is_some_and(|known| *known != row.prompt_id) {
                *known = None;
            }
        }
        for row in &mut rows {
            let known = ids.get(row.prompt.trim()).and_then(Option::as_ref);
            let Some(id) = known.filter(|_| self.ids_by_text.contains(&row.prompt_id)) else {
                continue;
            };
            let before = (row.model.clone(), row.prompt_id.clone());
            row.prompt_id.clone_from(id);
            if let Some(path) = self.from.get(&before).cloned() {
                self.claim(&(before.0, id.clone()), &path)?;
            }
        }
        self.outputs.rows = rows;
        Ok(())
    }
}

impl File<'_> {
    /// Takes a row's texts; how many places of its list are empty, or none where it holds nothing.
    fn row(&mut self, number: u64, object: &Map<String, Value>) -> Option<u64> {
        let whose = (self.author.as_str(), self.model);
        let row = row::texts(object, self.columns, whose, &mut self.score);
        let is_empty = row.texts.is_empty() && row.without == 0;
        let texts = row.texts.into_iter().map(|text| (number, text));
        self.texts.extend(texts);
        (!is_empty).then_some(row.without)
    }

    /// The reward model that a row names, where it is not that of the rows before.
    fn is_of_another_judge(&mut self, object: &Map<String, Value>) -> Option<String> {
        let judge = object.get(REWARD_MODEL)?.as_str()?;
        let first = self.judge.get_or_insert_with(|| judge.to_owned());
        (first != judge).then(|| judge.to_owned())
    }

    /// Whether a row says what another of its document said, through another filter of the harness.
    fn is_of_another_filter(&mut self, object: &Map<String, Value>) -> bool {
        let said = |name: &str| object.get(name).map(Value::to_string);
        let (Some(id), Some(filter), Some(texts)) = (said("doc_id"), said("filter"), said("resps"))
        else {
            return false;
        };
        let asked = said("arguments").unwrap_or_default();
        let whole = digest(&[&texts, &asked]);
        let (first, same) = self
            .filters
            .entry(id)
            .or_insert_with(|| (filter.clone(), whole));
        *first != filter && *same == whole
    }

    /// Tells the documents of one task of a harness from those of another.
    fn of_task(&mut self, path: &Path) {
        if let Some(task) = row::task(path) {
            for (_, text) in self.texts.iter_mut().filter(|(_, text)| text.has_id) {
                text.prompt_id = format!("{task}/{}", text.prompt_id);
            }
        }
    }

    /// Groups the texts by their prompts where every row has an id of its own, and a prompt stands in
    /// several; whether it did.
    fn by_prompt(&mut self) -> bool {
        if self.columns.named(PROMPT_ID).is_some() {
            return false;
        }
        let (mut ids, mut prompts) = (HashMap::new(), HashMap::new());
        let mut repeats = false;
        for (row, text) in &self.texts {
            let is_own = text.has_id
                && !text.is_prompt_id
                && *ids.entry(text.prompt_id.as_str()).or_insert(row) == row;
            if !is_own {
                return false;
            }
            if !text.prompt.is_empty() {
                repeats |= *prompts.entry(text.prompt_hash.as_str()).or_insert(row) != row;
            }
        }
        if repeats {
            let said = self.texts.iter_mut().map(|(_, text)| text);
            for text in said.filter(|text| !text.prompt.is_empty()) {
                text.prompt_id.clone_from(&text.prompt_hash);
            }
        }
        repeats
    }
}

/// What stands for texts.
fn digest(parts: &[&str]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha256_parts(parts)[..16]);
    half
}

/// Says where one `prompt_id` stands for several prompts.
fn unlike_prompts(rows: &[Output]) -> Option<String> {
    let mut texts: HashMap<&str, &str> = HashMap::new();
    let (mut unlike, mut first_unlike) = (HashSet::new(), None);
    for row in rows.iter().filter(|row| !row.prompt.is_empty()) {
        let first = texts.entry(&row.prompt_id).or_insert(&row.prompt);
        if first.trim() != row.prompt.trim() && unlike.insert(row.prompt_id.as_str()) {
            first_unlike = first_unlike.or(Some(&row.prompt_id));
        }
    }
    Some(format!(
        "{} of {} prompt ids stand for unlike prompts (the first is {}); their texts are compared \
         as if the prompts were the same.",
        unlike.len(),
        texts.len(),
        first_unlike?
    ))
}
