//! Layout of rows: one text per row, in a column such as `response`; also Alpaca's `instruction` and `input`.

use polyphony_io::hash::short_id;
use serde_json::{Map, Value};

use super::{Found, openai_batch};
use crate::outputs::columns::{Columns, Role};
use crate::outputs::json_value::{as_text, is_chat, prompt_hash, text_field, text_list};

/// The text of the response column, or its texts if it is a list; `None` without that column.
pub(super) fn parse(row: &Map<String, Value>, columns: &Columns) -> Option<Found> {
    let (_, response) = columns.find(Role::Response, row)?;
    if response.is_array() && !is_chat(response) {
        return Some(Found::list(text_list(response)));
    }
    let text = as_text(response).or_else(|| text_field(response));
    Some(Found {
        texts: text.map(Some).into_iter().collect(),
        is_list: false,
    })
}

/// The prompt from the prompt column or the messages of an API request, with a hash of it as id.
pub(super) fn prompt(row: &Map<String, Value>, columns: &Columns) -> Option<(String, String)> {
    let request = || openai_batch::request_messages(row).map(|messages| ("messages", messages));
    let (name, value) = columns.find(Role::Prompt, row).or_else(request)?;
    let prompt = as_text(value)?;
    // Alpaca splits a prompt into `instruction` and an optional `input`.
    let input = row.get("input").and_then(Value::as_str);
    let input = input.filter(|input| !input.trim().is_empty());
    if let ("instruction", None, Some(input)) = (name, columns.named(Role::Prompt), input) {
        let prompt = format!("{prompt}\n\n{input}");
        let hash = short_id(&[&prompt]);
        return Some((prompt, hash));
    }
    let hash = prompt_hash(value).unwrap_or_else(|| short_id(&[&prompt]));
    Some((prompt, hash)).filter(|(prompt, _)| !prompt.is_empty())
}
