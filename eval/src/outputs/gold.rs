//! What did people write to the same prompts? A store's responses, or a file, where their prompts are
//! those of the outputs.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use polyphony_engine::progress::Progress;
use polyphony_engine::store::Store;
use polyphony_engine::store::part::plain;
use polyphony_engine::{Error, Result, session};

use super::{Columns, GOLD, Named, Output, Outputs};

/// Adds what people wrote to the prompts of `outputs`: prompts are the same by id and text, or by
/// text. Votes are no rewards: what they say of the texts is left out.
///
/// # Errors
/// When there is nothing to read, or no prompt is the same.
pub async fn add(
    outputs: &mut Outputs,
    gold: &Path,
    columns: &Columns,
    progress: &dyn Progress,
) -> Result<()> {
    let rows = if gold.is_dir() && Store::open(gold).is_ok() {
        of_store(gold).await?
    } else {
        let named = Named {
            model: Some(GOLD.to_owned()),
            path: gold.to_path_buf(),
        };
        let columns = Columns {
            score: None,
            spaces: [None, None],
            ..columns.clone()
        };
        let read = super::read(&[named], &columns, progress)?;
        outputs
            .inputs
            .extend(read.inputs.into_iter().map(|input| super::Input {
                score: None,
                ..input
            }));
        read.rows
    };
    let by_text: HashMap<&str, &str> = outputs
        .rows
        .iter()
        .filter(|row| !row.prompt.is_empty())
        .map(|row| (row.prompt.trim(), row.prompt_id.as_str()))
        .collect();
    let ids: HashMap<&str, bool> = outputs
        .rows
        .iter()
        .map(|row| (row.prompt_id.as_str(), row.prompt.is_empty()))
        .collect();
    let mut samples: HashMap<String, i64> = HashMap::new();
    let mut kept = Vec::new();
    for row in rows {
        // An id counts where one side does not say its prompt.
        let by_id = ids.get(row.prompt_id.as_str()).copied();
        let by_id = by_id.filter(|unsaid| *unsaid || row.prompt.is_empty());
        let same = by_text.get(row.prompt.trim()).map(|id| (*id).to_owned());
        let Some(prompt_id) = same.or(by_id.map(|_| row.prompt_id.clone())) else {
            continue;
        };
        let sample = samples.entry(prompt_id.clone()).or_default();
        kept.push(Output {
            model: GOLD.to_owned(),
            sample: *sample,
            prompt_id,
            score: None,
            class: None,
            ..row
        });
        *sample += 1;
    }
    if kept.is_empty() {
        let problem = "has no response to any prompt of the outputs";
        let remedy = "prompts must be the same texts: check which they were generated from";
        return Err(Error::source(gold, problem, remedy));
    }
    outputs.rows.extend(kept);
    outputs.sort();
    Ok(())
}

/// The responses of a store.
async fn of_store(folder: &Path) -> Result<Vec<Output>> {
    let store = Store::open(folder)?;
    let context = session::with_store(&store, &session::Limits::pipeline())?;
    let query = "SELECT prompts.prompt_id, prompt, text FROM responses \
        JOIN prompts ON prompts.prompt_id = responses.prompt_id \
        ORDER BY prompts.prompt_id, response_id";
    let mut rows = Vec::new();
    for batch in context.sql(query).await?.collect().await? {
        rows.extend(outputs_of(&plain(&batch)?));
    }
    Ok(rows)
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
            class: None,
            given: [None, None],
        })
    };
    rows.filter_map(output).collect()
}
