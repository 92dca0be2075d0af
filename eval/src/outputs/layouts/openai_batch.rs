//! Layout of API responses: a line of an `OpenAI` batch's output, or a chat completion as it came.

use serde_json::{Map, Value};

use super::Found;
use crate::outputs::json_value::message_content;

/// The texts of a response, one per choice; none where the row is no response.
pub(super) fn parse(row: &Map<String, Value>) -> Option<Found> {
    let text = |choice: &Value| {
        let message = message_content(&choice["message"]["content"]);
        message.or_else(|| message_content(&choice["text"]))
    };
    Some(Found::list(choices(row)?.iter().map(text).collect()))
}

/// The id of the request, which is that of the prompt.
pub(super) fn request_id(row: &Map<String, Value>) -> Option<&Value> {
    row.get("custom_id").filter(|_| choices(row).is_some())
}

/// The messages of the request, where they are in the row.
pub(super) fn request_messages(row: &Map<String, Value>) -> Option<&Value> {
    row.get("messages").filter(|_| choices(row).is_some())
}

/// The model that the response names.
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
    // Multiple-choice data sets have a column `choices`, too.
    let is_completion = first["message"].is_object() || first.get("finish_reason").is_some();
    is_completion.then_some(choices)
}
