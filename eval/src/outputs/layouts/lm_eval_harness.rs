//! Layout of lm-evaluation-harness: `samples_TASK_TIME.jsonl`, a row per document and filter.

use std::collections::HashMap;
use std::path::Path;

use polyphony_io::hash::short_id;
use serde_json::{Map, Value};

use super::{Found, file_name, strip_extensions};
use crate::outputs::digest;
use crate::outputs::json_value::text_list;

/// The prefix of the names of sample files.
pub(in crate::outputs) const SAMPLES: &str = "samples_";

/// The texts of a document, `resps`; `None` if the row is not a document.
pub(super) fn parse(row: &Map<String, Value>) -> Option<Found> {
    let responses = row.get("resps").filter(|_| row.contains_key("doc_id"))?;
    Some(Found::list(text_list(responses)))
}

/// The prompt of a document (the first of its `arguments`), with a hash of it as id.
pub(super) fn prompt(row: &Map<String, Value>) -> Option<(String, String)> {
    let arguments = row.get("arguments")?;
    let newer = arguments["gen_args_0"]["arg_0"].as_str();
    let prompt = newer.or(arguments[0][0].as_str())?;
    Some((prompt.to_owned(), short_id(&[prompt])))
}

/// The task of a sample file `samples_TASK_TIME.jsonl`; `None` for other files. The ids of documents are unique
/// within a task only, because every task numbers them from 0.
pub(in crate::outputs) fn task(path: &Path) -> Option<String> {
    let name = file_name(path);
    let task = strip_extensions(&name).strip_prefix(SAMPLES)?;
    let is_time = |end: &str| end.starts_with("20") && end.contains('T');
    let task = match task.rsplit_once('_') {
        Some((task, end)) if is_time(end) => task,
        _ => task,
    };
    Some(task.to_owned())
}

/// The answer filters of a file: a document has a row per filter, with the same texts in each.
#[derive(Debug, Default)]
pub(in crate::outputs) struct Filters {
    /// By document: the first filter, and the digest of its texts.
    first: HashMap<String, (String, [u8; 16])>,
}

impl Filters {
    /// Whether the row repeats the texts of an earlier row for another filter.
    pub(in crate::outputs) fn is_repeated(&mut self, row: &Map<String, Value>) -> bool {
        let json = |name: &str| row.get(name).map(Value::to_string);
        let (Some(id), Some(filter), Some(texts)) = (json("doc_id"), json("filter"), json("resps"))
        else {
            return false;
        };
        let texts = digest(&[&texts, &json("arguments").unwrap_or_default()]);
        let (first, first_texts) = self
            .first
            .entry(id)
            .or_insert_with(|| (filter.clone(), texts));
        *first != filter && *first_texts == texts
    }
}
