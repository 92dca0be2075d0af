//! Gold: human-written texts to the same prompts, from a store or a file of outputs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use polyphony_engine::store::part::plain;
use polyphony_engine::store::{Store, is_store};
use polyphony_engine::{Error, Result, session};
use polyphony_io::hash::sha256_file;
use polyphony_io::progress::Progress;

use super::layouts::file_name;
use super::loader::counted;
use super::{Columns, GOLD, Input, Output, OutputPath, Outputs};

/// Adds human-written texts to the prompts of `outputs`. Prompts match by text, or by id if one side lacks the
/// text. Votes are not read, because they are not rewards.
///
/// # Errors
/// When `gold` cannot be read, or has no text to any prompt of the outputs.
pub async fn add(
    outputs: &mut Outputs,
    gold: &Path,
    columns: &Columns,
    progress: &dyn Progress,
) -> Result<()> {
    let prompts = PromptIndex::new(&outputs.rows);
    let mut texts = if is_store(gold) {
        of_store(gold, &prompts, outputs).await?
    } else {
        of_file(gold, &prompts, outputs, columns, progress)?
    };
    if texts.is_empty() {
        let message = "has no response to any prompt of the outputs";
        let hint = "prompts must be the same texts: check which they were generated from";
        return Err(Error::input(gold, message, hint));
    }
    let mut samples: HashMap<String, i64> = HashMap::new();
    for row in &mut texts {
        let sample = samples.entry(row.prompt_id.clone()).or_default();
        row.sample = *sample;
        *sample += 1;
    }
    outputs.rows.extend(texts);
    outputs.sort();
    Ok(())
}

/// The prompts of the outputs, by text and by id.
struct PromptIndex {
    /// Prompt text to prompt id.
    by_text: BTreeMap<String, String>,
    /// Prompt id to whether all rows lack the text of the prompt.
    ids: BTreeMap<String, bool>,
}

impl PromptIndex {
    fn new(rows: &[Output]) -> Self {
        let (mut by_text, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let is_missing = row.prompt.trim().is_empty();
            if !is_missing {
                by_text.insert(row.prompt.trim().to_owned(), row.prompt_id.clone());
            }
            *ids.entry(row.prompt_id.clone()).or_insert(true) &= is_missing;
        }
        Self { by_text, ids }
    }

    /// The id of the prompt of `row` in the outputs; `None` if they do not have this prompt.
    fn find(&self, row: &Output) -> Option<String> {
        if let Some(id) = self.by_text.get(row.prompt.trim()) {
            return Some(id.clone());
        }
        let is_missing = *self.ids.get(&row.prompt_id)?;
        (is_missing || row.prompt.trim().is_empty()).then(|| row.prompt_id.clone())
    }
}

/// The texts of a file of outputs; its inputs and warnings are added to `outputs`.
fn of_file(
    file: &Path,
    prompts: &PromptIndex,
    outputs: &mut Outputs,
    columns: &Columns,
    progress: &dyn Progress,
) -> Result<Vec<Output>> {
    let path = OutputPath {
        model: Some(GOLD.to_owned()),
        path: file.to_path_buf(),
    };
    let read = super::read(&[path], &columns.for_gold(), progress)?;
    let total = read.rows.len();
    let matched = read.rows.into_iter().filter_map(|row| {
        Some(Output {
            prompt_id: prompts.find(&row)?,
            class: None,
            utility: None,
            ..row
        })
    });
    let matched: Vec<Output> = matched.collect();
    let warnings = read.warnings.iter();
    outputs
        .warnings
        .extend(warnings.map(|warning| format!("{GOLD}: {warning}")));
    if matched.len() < total {
        outputs.warnings.push(format!(
            "{GOLD}: {} skipped: no model has a text to the same prompt.",
            counted((total - matched.len()) as u64, "text", "texts")
        ));
    }
    outputs.inputs.extend(read.inputs);
    Ok(matched)
}

/// The responses of a store to these prompts; the store is added to the inputs of `outputs`.
async fn of_store(
    folder: &Path,
    prompts: &PromptIndex,
    outputs: &mut Outputs,
) -> Result<Vec<Output>> {
    let store = Store::open(folder)?;
    let context = session::with_store(&store, &session::MemoryLimit::pipeline())?;
    let without_text = prompts.ids.iter().filter(|(_, is_missing)| **is_missing);
    let without_text = without_text.map(|(id, _)| (id.as_str(), id.as_str()));
    let texts = prompts.by_text.iter();
    let texts = texts.map(|(text, id)| (text.as_str(), id.as_str()));
    context.register_batch("output_texts", pairs(texts)?)?;
    context.register_batch("output_ids", pairs(without_text)?)?;
    // The characters that `str::trim` removes: the SQL join has to trim prompts in the same way.
    let blank: String = (char::MIN..='\u{3000}')
        .filter(|letter| letter.is_whitespace())
        .collect();
    let query = format!(
        "WITH wanted AS ( \
           SELECT prompts.prompt_id, prompts.prompt, coalesce(texts.id, ids.id) AS id FROM prompts \
           LEFT JOIN output_texts AS texts ON btrim(prompts.prompt, '{blank}') = texts.key \
           LEFT JOIN output_ids AS ids ON prompts.prompt_id = ids.key \
           WHERE coalesce(texts.id, ids.id) IS NOT NULL) \
         SELECT wanted.id, wanted.prompt, responses.text FROM wanted \
         JOIN responses ON wanted.prompt_id = responses.prompt_id \
         ORDER BY wanted.prompt_id, responses.response_id"
    );
    let mut rows = Vec::new();
    for batch in context.sql(&query).await?.collect().await? {
        rows.extend(outputs_of(&plain(&batch)?));
    }
    let count = rows.len() as u64;
    let path = std::fs::canonicalize(folder).map_err(Error::io("read", folder))?;
    outputs.inputs.push(Input {
        file: file_name(&path),
        path: folder.to_string_lossy().into_owned(),
        sha256: sha256_file(&folder.join("manifest.json"))?,
        rows: count,
        responses: count,
        score: None,
        reward_model: None,
        adapter: None,
    });
    Ok(rows)
}

/// A table of keys (prompt texts or ids) with the ids of these prompts in the outputs.
fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<RecordBatch> {
    let (keys, ids): (Vec<&str>, Vec<&str>) = pairs.unzip();
    let column = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let columns = [("key", column(keys)), ("id", column(ids))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn outputs_of(batch: &RecordBatch) -> Vec<Output> {
    let column = |at: usize| batch.column(at).as_string::<i32>();
    let rows = column(0).iter().zip(column(1)).zip(column(2));
    let output = |((id, prompt), text): ((Option<&str>, Option<&str>), Option<&str>)| {
        Some(Output {
            model: GOLD.to_owned(),
            prompt_id: id?.to_owned(),
            prompt: prompt?.to_owned(),
            response: text?.to_owned(),
            ..Output::default()
        })
    };
    rows.filter_map(output).collect()
}
