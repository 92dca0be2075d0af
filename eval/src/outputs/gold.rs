//! What did people write to the same prompts? A store's responses, or a file, where their prompts are
//! those of the outputs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use polyphony_engine::store::Store;
use polyphony_engine::store::part::plain;
use polyphony_engine::{Error, Result, session};
use polyphony_io::hash::sha256_file;
use polyphony_io::progress::Progress;

use super::{Columns, GOLD, Input, Named, Output, Outputs, row};

/// Adds what people wrote to the prompts of `outputs`: prompts are the same by text, or by id where one
/// side does not say its prompt. Votes are no rewards: what they say of the texts is left out.
///
/// # Errors
/// When there is nothing to read, or no prompt is the same.
pub async fn add(
    outputs: &mut Outputs,
    gold: &Path,
    columns: &Columns,
    progress: &dyn Progress,
) -> Result<()> {
    let asked = PromptIndex::of(&outputs.rows);
    let mut kept = if gold.is_dir() && Store::open(gold).is_ok() {
        of_store(gold, &asked, outputs).await?
    } else {
        of_file(gold, &asked, outputs, columns, progress)?
    };
    if kept.is_empty() {
        let message = "has no response to any prompt of the outputs";
        let hint = "prompts must be the same texts: check which they were generated from";
        return Err(Error::input(gold, message, hint));
    }
    let mut samples: HashMap<String, i64> = HashMap::new();
    for row in &mut kept {
        let sample = samples.entry(row.prompt_id.clone()).or_default();
        row.sample = *sample;
        *sample += 1;
    }
    outputs.rows.extend(kept);
    outputs.sort();
    Ok(())
}

/// The prompts of the outputs.
struct PromptIndex {
    /// The id of a prompt's text.
    by_text: BTreeMap<String, String>,
    /// The ids, and whether nobody says what their prompt is.
    ids: BTreeMap<String, bool>,
}

impl PromptIndex {
    fn of(rows: &[Output]) -> Self {
        let (mut by_text, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let unsaid = row.prompt.trim().is_empty();
            if !unsaid {
                by_text.insert(row.prompt.trim().to_owned(), row.prompt_id.clone());
            }
            *ids.entry(row.prompt_id.clone()).or_insert(true) &= unsaid;
        }
        Self { by_text, ids }
    }

    /// The id that the outputs have for the prompt of `row`.
    fn find(&self, row: &Output) -> Option<String> {
        if let Some(id) = self.by_text.get(row.prompt.trim()) {
            return Some(id.clone());
        }
        let unsaid = *self.ids.get(&row.prompt_id)?;
        (unsaid || row.prompt.trim().is_empty()).then(|| row.prompt_id.clone())
    }
}

/// The texts of a file; its notices go to those of the outputs.
fn of_file(
    file: &Path,
    asked: &PromptIndex,
    outputs: &mut Outputs,
    columns: &Columns,
    progress: &dyn Progress,
) -> Result<Vec<Output>> {
    let named = Named {
        model: Some(GOLD.to_owned()),
        path: file.to_path_buf(),
    };
    let read = super::read(&[named], &columns.of_gold(), progress)?;
    let whole = read.rows.len();
    let kept = read.rows.into_iter().filter_map(|row| {
        Some(Output {
            prompt_id: asked.find(&row)?,
            class: None,
            utility: None,
            ..row
        })
    });
    let kept: Vec<Output> = kept.collect();
    for (what, count) in read.counts {
        *outputs.counts.entry(what).or_default() += count;
    }
    let notices = read.notices.iter();
    outputs
        .notices
        .extend(notices.map(|license_notice| format!("{GOLD}: {license_notice}")));
    if kept.len() < whole {
        outputs.notices.push(format!(
            "{GOLD}: {} texts to prompts that no model answered.",
            whole - kept.len()
        ));
    }
    outputs.inputs.extend(read.inputs);
    Ok(kept)
}

/// The responses of a store to the prompts that were asked.
async fn of_store(
    folder: &Path,
    asked: &PromptIndex,
    outputs: &mut Outputs,
) -> Result<Vec<Output>> {
    let store = Store::open(folder)?;
    let context = session::with_store(&store, &session::MemoryLimit::pipeline())?;
    let unsaid = asked.ids.iter().filter(|(_, unsaid)| **unsaid);
    let unsaid = unsaid.map(|(id, _)| (id.as_str(), id.as_str()));
    let texts = asked.by_text.iter();
    let texts = texts.map(|(text, id)| (text.as_str(), id.as_str()));
    context.register_batch("asked_by_text", pairs(texts)?)?;
    context.register_batch("asked_by_id", pairs(unsaid)?)?;
    // What `str::trim` takes away.
    let blank: String = (char::MIN..='\u{3000}')
        .filter(|letter| letter.is_whitespace())
        .collect();
    let query = format!(
        "WITH asked AS ( \
           SELECT prompts.prompt_id, prompts.prompt, coalesce(texts.id, ids.id) AS id FROM prompts \
           LEFT JOIN asked_by_text AS texts ON btrim(prompts.prompt, '{blank}') = texts.asked \
           LEFT JOIN asked_by_id AS ids ON prompts.prompt_id = ids.asked \
           WHERE coalesce(texts.id, ids.id) IS NOT NULL) \
         SELECT asked.id, asked.prompt, responses.text FROM asked \
         JOIN responses ON asked.prompt_id = responses.prompt_id \
         ORDER BY asked.prompt_id, responses.response_id"
    );
    let mut rows = Vec::new();
    for batch in context.sql(&query).await?.collect().await? {
        rows.extend(outputs_of(&plain(&batch)?));
    }
    let count = rows.len() as u64;
    let path = std::fs::canonicalize(folder).map_err(Error::io("read", folder))?;
    outputs.inputs.push(Input {
        file: row::label(&path),
        sha256: sha256_file(&folder.join("manifest.json"))?,
        rows: count,
        responses: count,
        score: None,
        reward_model: None,
    });
    Ok(rows)
}

/// What is asked, and the id that the outputs have for it.
fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<RecordBatch> {
    let (asked, ids): (Vec<&str>, Vec<&str>) = pairs.unzip();
    let column = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let columns = [("asked", column(asked)), ("id", column(ids))];
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
            sample: 0,
            response: text?.to_owned(),
            score: None,
            utility: None,
            class: None,
            given: [None, None],
        })
    };
    rows.filter_map(output).collect()
}
