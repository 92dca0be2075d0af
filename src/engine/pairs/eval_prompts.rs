//! Evaluation prompts: the prompts of a store that stand in an evaluation file, or are near-duplicates of one,
//! so that no pair of them is trained on.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::Value;

use crate::ingest::near_duplicates::{Prompts, THRESHOLD};
use crate::ingest::{minhash, prompt_key, tag, text};
use crate::store::Store;
use crate::{Error, Result, schema};
use polyphony_io::format::RowFile;
use polyphony_io::hash::short_id;
use polyphony_io::progress::Progress;
use polyphony_io::records::{self, ReadOptions};

/// Commits the table of the store's prompts that are in `file`, or of none.
///
/// # Errors
/// When the file cannot be read, or a row has no `prompt`.
pub(super) fn set(store: &mut Store, file: Option<&Path>, progress: &dyn Progress) -> Result<()> {
    let mut manifest = store.manifest().clone();
    manifest.tables.remove(schema::EVAL_PROMPTS);
    if let Some(file) = file {
        let mut sets = read(file, progress)?;
        let count = sets.len();
        let prompts = Prompts::read(store, &manifest)?;
        sets.extend(prompts.word_pairs);
        let mut keys: Vec<&str> = minhash::similar_pairs(&sets, THRESHOLD)
            .into_iter()
            .filter(|(first, second, _)| *first < count && *second >= count)
            .filter_map(|(_, second, _)| prompts.keys.get(second - count).map(String::as_str))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        progress.message(&format!(
            "{} of the store's prompts are among the {count} of {}, or nearly",
            keys.len(),
            file.display()
        ));
        if !keys.is_empty() {
            let schema = schema::eval_prompts();
            let column: ArrayRef = Arc::new(StringArray::from_iter_values(&keys));
            let mut part =
                store.part(schema::EVAL_PROMPTS, &short_id(&keys), Arc::clone(&schema))?;
            part.write(&RecordBatch::try_new(schema, vec![column])?)?;
            manifest.add(schema::EVAL_PROMPTS, part.finish()?);
        }
    }
    if manifest != *store.manifest() {
        store.commit(manifest)?;
    }
    Ok(())
}

/// The sets of word pairs of a file's prompts, distinct.
fn read(path: &Path, progress: &dyn Progress) -> Result<Vec<Vec<u64>>> {
    let mut sets = Vec::new();
    let options = ReadOptions {
        columns: Some(&["prompt"]),
        ..ReadOptions::default()
    };
    let file = RowFile::open(path)?;
    records::read(&file, &options, progress, &mut |(line, row)| {
        let row = row.map_err(|text| records::malformed_row(&file, line, text))?;
        let Some(prompt) = row.get("prompt").and_then(prompt) else {
            let message = format!("row {line} has no `prompt`: a text, or a list of messages");
            return Err(Error::input(path, message, "rename its column to `prompt`"));
        };
        let prompt = text::clean(&prompt);
        let title = tag::split(&prompt, None, &[]).title;
        sets.push(minhash::word_pairs(&prompt_key::normalize(title)));
        Ok(())
    })?;
    sets.sort_unstable();
    sets.dedup();
    Ok(sets)
}

/// The text of a prompt: a string, or the contents of the user's messages of a chat.
fn prompt(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let messages = value.as_array()?.iter();
    let of_user = messages.filter(|message| message.get("role").is_none_or(|role| role == "user"));
    let texts: Vec<&str> = of_user
        .filter_map(|message| message.get("content")?.as_str())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}
