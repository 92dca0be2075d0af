//! Loader of outputs: reads files row by row, checks their consistency, and collects warnings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format::RowFile;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};
use polyphony_model::generate;
use serde_json::{Map, Value};

use super::adapter::Adapter;
use super::adapter_scale::drop_single_scales;
use super::columns::{Columns, Role};
use super::layouts::lm_eval_harness::{Filters, task};
use super::layouts::{self, Text, file_name, model_from_path};
use super::{GOLD, Input, Output, Outputs, digest, runs};

/// The column with the name of the reward model that computed the row's reward.
const REWARD_MODEL: &str = "reward_model";

/// The maximum number of column names to remember per file, for error messages.
const MAX_COLUMN_NAMES: usize = 1000;

/// A flaw of a row or a text that causes a warning; warnings are in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    NotAnObject,
    NoTextOrPrompt,
    Duplicate,
    OtherFilter,
    NoTextInList,
    ScoreNotANumber,
    EmptyText,
    Truncated,
    EqualText,
}

impl Flaw {
    /// The text of the warning for `count` rows or texts.
    fn describe(self, count: u64) -> String {
        let are = if count == 1 { "is" } else { "are" };
        let rows = counted(count, "row", "rows");
        let texts = counted(count, "text", "texts");
        match self {
            Self::NotAnObject => format!("{rows} skipped: not a JSON object"),
            Self::NoTextOrPrompt => format!("{rows} skipped: no text or no prompt"),
            Self::Duplicate => {
                let rows = counted(count, "duplicate row", "duplicate rows");
                format!("{rows} skipped")
            }
            Self::OtherFilter => {
                format!("{rows} skipped: the same texts through another filter of the harness")
            }
            Self::NoTextInList => {
                let items = counted(count, "item", "items");
                format!("{items} of lists of texts skipped: no text")
            }
            Self::ScoreNotANumber => {
                let scores = counted(count, "score", "scores");
                format!("{scores} ignored: not a number")
            }
            Self::EmptyText => format!("{texts} {are} empty, and evaluated as such"),
            Self::Truncated => format!("{texts} {are} truncated at the limit of new tokens"),
            Self::EqualText => {
                format!("{texts} {are} equal to another of the same model and prompt")
            }
        }
    }
}

/// A count with its noun: `1 row`, `2 rows`.
pub(super) fn counted(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// The number of occurrences of a flaw, with the locations of the first ones.
#[derive(Debug, Default)]
struct Occurrences {
    count: u64,
    first: Vec<String>,
}

impl Occurrences {
    /// The maximum number of locations in a warning.
    const MAX_LOCATIONS: usize = 3;

    /// The warning, with the first locations as `file:line`.
    fn warning(&self, flaw: Flaw) -> String {
        let more = if self.count > self.first.len() as u64 {
            ", .."
        } else {
            ""
        };
        let locations = self.first.join(", ");
        format!("{} ({locations}{more}).", flaw.describe(self.count))
    }
}

/// The contents of all files read so far.
#[derive(Default)]
pub(super) struct Loader {
    rows: Vec<Output>,
    inputs: Vec<Input>,
    warnings: Vec<String>,
    /// (model and run, prompt id) to the file with its texts.
    files: HashMap<(String, String), PathBuf>,
    /// (model and run, prompt id) to the number of texts read so far.
    samples: HashMap<(String, String), i64>,
    /// Digests of (model and run, prompt id, sample, text), to detect duplicates.
    seen: HashSet<[u8; 16]>,
    /// Prompt ids that are hashes of the prompt, for rows without an id.
    ids_by_text: HashSet<String>,
    flaws: BTreeMap<Flaw, Occurrences>,
    /// Names of models with a scale that the file's names lack, to the names without it.
    scaled: HashMap<String, String>,
    /// Whether `--columns` names the column of seeds, so that every seed is a training run.
    are_seeds_named: bool,
}

/// The state while a file is read.
struct File<'a> {
    columns: &'a Columns,
    /// The model by the file's name.
    default_model: String,
    /// The model of the command line.
    forced_model: Option<&'a str>,
    /// The texts with their row numbers.
    texts: Vec<(i64, Text)>,
    /// The column of scores, determined by the first row with a number.
    score: Option<String>,
    /// The reward model that the rows name.
    reward_model: Option<String>,
    filters: Filters,
}

impl Loader {
    /// Reads a file of outputs.
    ///
    /// # Errors
    /// When the file cannot be read, has no text, lacks a named column, has rewards of two models, or has
    /// texts of a model and prompt that another file has as well.
    pub(super) fn load(
        &mut self,
        source: &RowFile,
        model: Option<&str>,
        columns: &Columns,
        progress: &dyn Progress,
    ) -> Result<()> {
        let name = file_name(&source.path);
        progress.start(&name, Some(source.bytes), Unit::Bytes);
        let (mut rows, mut names) = (0, BTreeSet::new());
        let mut file = File {
            columns,
            default_model: model_from_path(&source.path),
            forced_model: model,
            texts: Vec::new(),
            score: None,
            reward_model: None,
            filters: Filters::default(),
        };
        let is_row = |object: &Map<String, Value>| {
            let row = layouts::parse(object, columns, ("", model), &mut None);
            row.missing > 0 || !row.texts.is_empty()
        };
        let options = ReadOptions {
            is_row: &is_row,
            ..ReadOptions::default()
        };
        let outcome = records::read(source, &options, progress, &mut |(line, object)| {
            rows += 1;
            let Ok(object) = object else {
                self.count(Flaw::NotAnObject, 1, &name, line);
                return Ok(());
            };
            // JSON rows may omit null columns, so collect the names over all rows.
            for column in object.keys() {
                if names.len() < MAX_COLUMN_NAMES && !names.contains(column) {
                    names.insert(column.clone());
                }
            }
            if let Some(other) = file.other_reward_model(&object) {
                let message = format!("has rewards of two models: in row {rows}, of `{other}`");
                let hint =
                    "rewards of different models do not compare: split the file by reward_model";
                return Err(Error::input(&source.path, message, hint));
            }
            if file.filters.is_repeated(&object) {
                self.count(Flaw::OtherFilter, 1, &name, line);
                return Ok(());
            }
            match file.row(line, &object) {
                Some(missing) => self.count(Flaw::NoTextInList, missing, &name, line),
                None => self.count(Flaw::NoTextOrPrompt, 1, &name, line),
            }
            Ok(())
        })?;
        progress.finish();
        let outcome = outcome.require_complete(&source.path)?;
        generate::output::check(&source.path, &outcome.sha256)?;
        if !names.is_empty() {
            columns.check(&names, &source.path)?;
        }
        if file.texts.is_empty() {
            let names: Vec<String> = names.into_iter().collect();
            let message = match names.join(", ") {
                none if none.is_empty() => "holds no output, nor any object".to_owned(),
                names => format!("holds no output; its columns are {names}"),
            };
            let hint = "name its columns: --columns model=..,prompt=..,response=..";
            return Err(Error::input(&source.path, message, hint));
        }
        file.prefix_task(&source.path);
        self.are_seeds_named = columns.named(Role::Seed).is_some();
        file.drop_other_seeds(self.are_seeds_named);
        if file.group_by_prompt_text() {
            self.warnings.push(format!(
                "{name}: every row has an id of its own and prompts repeat, so texts are grouped by the \
                 text of their prompt (--columns prompt_id=.. names another column)."
            ));
        }
        self.inputs.push(Input {
            file: name.clone(),
            path: source.path.to_string_lossy().into_owned(),
            sha256: outcome.sha256,
            rows,
            responses: file.texts.len() as u64,
            score: file.score,
            reward_model: file.reward_model,
            adapter: Adapter::of_outputs(&source.path),
        });
        let mut texts = file.texts.into_iter();
        texts.try_for_each(|(line, text)| self.text(text, &source.path, &name, line))
    }

    fn count(&mut self, flaw: Flaw, times: u64, file: &str, line: i64) {
        if times == 0 {
            return;
        }
        let occurrences = self.flaws.entry(flaw).or_default();
        occurrences.count += times;
        if occurrences.first.len() < Occurrences::MAX_LOCATIONS {
            occurrences.first.push(format!("{file}:{line}"));
        }
    }

    /// Registers `path` as the file of a model's texts to a prompt; an error if another file has such texts.
    fn claim(&mut self, key: &(String, String), path: &Path) -> Result<()> {
        let owner = self.files.entry(key.clone());
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

    fn text(&mut self, text: Text, path: &Path, file: &str, line: i64) -> Result<()> {
        if let Some(name) = text.name_without_scale {
            self.scaled.entry(text.model.clone()).or_insert(name);
        }
        let mut output = Output {
            model: text.model,
            run: text.seed,
            prompt_id: text.prompt_id,
            prompt: text.prompt,
            sample: text.sample.unwrap_or_default(),
            response: text.response,
            score: text.score,
            utility: text.utility,
            class: text.class,
            given: text.given,
            adapter_scale: text.adapter_scale,
        };
        let key = (output.model_and_run(), output.prompt_id.clone());
        self.claim(&key, path)?;
        let sample = text.sample.map(|sample| sample.to_string());
        let sample = sample.as_deref().unwrap_or_default();
        let is_new = self
            .seen
            .insert(digest(&[&key.0, &key.1, sample, &output.response]));
        if !is_new && text.sample.is_some() {
            self.count(Flaw::Duplicate, 1, file, line);
            return Ok(());
        }
        for (flaw, is_present) in [
            (Flaw::EqualText, !is_new),
            (Flaw::ScoreNotANumber, text.score_is_no_number),
            (Flaw::EmptyText, output.response.trim().is_empty()),
            (Flaw::Truncated, text.is_truncated),
        ] {
            self.count(flaw, u64::from(is_present), file, line);
        }
        if !text.has_id {
            self.ids_by_text.insert(output.prompt_id.clone());
        }
        // Order texts by the sample number in the file, or else by row.
        let sample = self.samples.entry(key).or_default();
        output.sample = text.sample.unwrap_or(*sample);
        *sample += 1;
        self.rows.push(output);
        Ok(())
    }

    /// Returns all texts, sorted and renumbered, with all warnings.
    pub(super) fn finish(mut self) -> Result<Outputs> {
        self.match_ids_by_text()?;
        self.keep_runs()?;
        drop_single_scales(&mut self.rows, &self.scaled);
        let mut outputs = Outputs {
            rows: self.rows,
            inputs: self.inputs,
            warnings: self.warnings,
        };
        outputs.sort();
        for group in outputs.rows.chunk_by_mut(Output::same_group) {
            for (sample, row) in (0..).zip(group) {
                row.sample = sample;
            }
        }
        let flaws = self.flaws.iter();
        let warnings = flaws.map(|(flaw, occurrences)| occurrences.warning(*flaw));
        outputs.warnings.extend(warnings);
        outputs
            .warnings
            .extend(ambiguous_ids_warning(&outputs.rows));
        Ok(outputs)
    }

    /// Keeps the seeds of models whose seeds are those of training runs (see [`runs::are_runs`]; where `--columns`
    /// names the column, all seeds are), and removes all others.
    fn keep_runs(&mut self) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        let with_seed = rows.iter().filter(|row| row.run.is_some());
        let models: BTreeSet<String> = with_seed.map(|row| row.model.clone()).collect();
        for model in models {
            let of_model = rows.iter().filter(|row| row.model == model);
            let seeds: Option<Vec<(&str, &str)>> = of_model
                .map(|row| Some((row.prompt_id.as_str(), row.run.as_deref()?)))
                .collect();
            let are_runs = seeds.is_some_and(|seeds| {
                let mut all = seeds.iter().map(|(_, seed)| seed);
                let first = all.next();
                let is_several = all.any(|seed| Some(seed) != first);
                is_several && (self.are_seeds_named || runs::are_runs(seeds.iter().copied()))
            });
            if are_runs {
                continue;
            }
            for row in rows.iter_mut().filter(|row| row.model == model) {
                let before = (row.model_and_run(), row.prompt_id.clone());
                row.run = None;
                if let Some(path) = self.files.get(&before).cloned() {
                    self.claim(&(row.model.clone(), row.prompt_id.clone()), &path)?;
                }
            }
        }
        self.rows = rows;
        Ok(())
    }

    /// Replaces hash ids of prompts by the id that other rows have for the same prompt text, if that id is
    /// unique.
    fn match_ids_by_text(&mut self) -> Result<()> {
        if self.ids_by_text.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.rows);
        let mut ids: HashMap<String, Option<String>> = HashMap::new();
        for row in rows
            .iter()
            .filter(|row| !self.ids_by_text.contains(&row.prompt_id))
        {
            let other_id = ids
                .entry(row.prompt.trim().to_owned())
                .or_insert_with(|| Some(row.prompt_id.clone()));
            if other_id
                .as_ref()
                .is_some_and(|other_id| *other_id != row.prompt_id)
            {
                *other_id = None;
            }
        }
        for row in &mut rows {
            let other_id = ids.get(row.prompt.trim()).and_then(Option::as_ref);
            let Some(id) = other_id.filter(|_| self.ids_by_text.contains(&row.prompt_id)) else {
                continue;
            };
            let before = (row.model_and_run(), row.prompt_id.clone());
            row.prompt_id.clone_from(id);
            if let Some(path) = self.files.get(&before).cloned() {
                self.claim(&(before.0, id.clone()), &path)?;
            }
        }
        self.rows = rows;
        Ok(())
    }
}

impl File<'_> {
    /// Adds the texts of a row. Returns the number of list items without text; `None` if the row has no text
    /// or no prompt.
    fn row(&mut self, line: i64, object: &Map<String, Value>) -> Option<u64> {
        let models = (self.default_model.as_str(), self.forced_model);
        let row = layouts::parse(object, self.columns, models, &mut self.score);
        let is_empty = row.texts.is_empty() && row.missing == 0;
        let texts = row.texts.into_iter().map(|text| (line, text));
        self.texts.extend(texts);
        (!is_empty).then_some(row.missing)
    }

    /// The reward model of a row, if it differs from that of earlier rows.
    fn other_reward_model(&mut self, object: &Map<String, Value>) -> Option<String> {
        let name = object.get(REWARD_MODEL)?.as_str()?;
        let first = self.reward_model.get_or_insert_with(|| name.to_owned());
        (first != name).then(|| name.to_owned())
    }

    /// Adds the task as a prefix to document ids of lm-evaluation-harness: every task numbers its documents
    /// from 0.
    fn prefix_task(&mut self, path: &Path) {
        if let Some(task) = task(path) {
            for (_, text) in self.texts.iter_mut().filter(|(_, text)| text.has_id) {
                text.prompt_id = format!("{task}/{}", text.prompt_id);
            }
        }
    }

    /// Removes the seeds of models that are people or named `NAME@SEED`, and those that vary within the file but are
    /// not those of training runs.
    fn drop_other_seeds(&mut self, are_named: bool) {
        let mut seeds: BTreeMap<&str, Vec<(&str, Option<&str>)>> = BTreeMap::new();
        for (_, text) in &self.texts {
            let of_model = seeds.entry(&text.model).or_default();
            of_model.push((&text.prompt_id, text.seed.as_deref()));
        }
        let is_kept = |(model, texts): &(&str, Vec<(&str, Option<&str>)>)| {
            let is_constant = texts.iter().all(|(_, seed)| *seed == texts[0].1);
            let complete: Option<Vec<(&str, &str)>> = texts
                .iter()
                .map(|(id, seed)| Some((*id, (*seed)?)))
                .collect();
            let are_runs = || complete.is_some_and(|texts| runs::are_runs(texts.iter().copied()));
            *model != GOLD
                && runs::split(model).is_none()
                && (is_constant || are_named || are_runs())
        };
        let kept = seeds.into_iter().filter(is_kept);
        let kept: HashSet<String> = kept.map(|(model, _)| model.to_owned()).collect();
        for (_, text) in &mut self.texts {
            text.seed = text.seed.take().filter(|_| kept.contains(&text.model));
        }
    }

    /// Groups texts by the text of their prompt if every row has a unique id and prompts repeat: then the ids are
    /// of rows, not of prompts. Returns whether it did.
    fn group_by_prompt_text(&mut self) -> bool {
        if self.columns.named(Role::PromptId).is_some() {
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
            let texts = self.texts.iter_mut().map(|(_, text)| text);
            for text in texts.filter(|text| !text.prompt.is_empty()) {
                text.prompt_id.clone_from(&text.prompt_hash);
            }
        }
        repeats
    }
}

/// The warning that a `prompt_id` belongs to several different prompts.
fn ambiguous_ids_warning(rows: &[Output]) -> Option<String> {
    let mut texts: HashMap<&str, &str> = HashMap::new();
    let (mut ambiguous, mut first_ambiguous) = (HashSet::new(), None);
    for row in rows.iter().filter(|row| !row.prompt.is_empty()) {
        let first = texts.entry(&row.prompt_id).or_insert(&row.prompt);
        if first.trim() != row.prompt.trim() && ambiguous.insert(row.prompt_id.as_str()) {
            first_ambiguous = first_ambiguous.or(Some(&row.prompt_id));
        }
    }
    Some(format!(
        "{} of {} prompt ids belong to different prompts (the first is {}); their texts are compared \
         as if the prompts were the same.",
        ambiguous.len(),
        texts.len(),
        first_ambiguous?
    ))
}
