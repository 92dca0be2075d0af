//! Layout of API responses: a line of the output of an `OpenAI` batch, or a single (chat) completion object.

use serde_json::{Map, Value};

use super::Found;
use crate::outputs::json_value::message_content;

/// The texts of a response, one per choice; `None` if the row is not a response.
pub(super) fn parse(row: &Map<String, Value>) -> Option<Found> {
    let text = |choice: &Value| {
        let message = message_content(&choice["message"]["content"]);
        message.or_else(|| message_content(&choice["text"]))
    };
    Some(Found::list(choices(row)?.iter().map(text).collect()))
}

/// The id of the request (`custom_id`), which is used as the id of the prompt.
pub(super) fn request_id(row: &Map<String, Value>) -> Option<&Value> {
    row.get("custom_id").filter(|_| choices(row).is_some())
}

/// The messages of the request, if the row has them.
pub(super) fn request_messages(row: &Map<String, Value>) -> Option<&Value> {
    row.get("messages").filter(|_| choices(row).is_some())
}

/// The model name in the response body.
pub(super) fn model(row: &Map<String, Value>) -> Option<&str> {
    row.get("response")?["body"]["model"].as_str()
}

fn choices(row: &Map<String, Value>) -> Option<&Vec<Value>> {
    let batch = row.get("response");
    if let Some(choices) = batch.and_then(|response| response["body"]["choices"].as_array()) {
        return Some(choices);
    }
    let choices = row.get("choices")?.as_array()?;
    let first = choices.first()?;
    // Multiple-choice data sets also have a column `choices`.
    let is_completion = first["message"].is_object() || first.get("finish_reason").is_some();
    is_completion.then_some(choices)
}
