//! JSON values: text and numbers from strings, chats, messages with content parts, and lists of these.

use polyphony_io::hash::short_id;
use polyphony_model::chat::Message;
pub(super) use polyphony_model::chat::message_content;
use polyphony_model::generate::prompts::prompt_id;
use serde_json::Value;

/// The text of a string or a number, or the content of the last message of a chat.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(chat) => message_content(&chat.last()?["content"]),
        _ => None,
    }
}

/// The text of a string, of content parts, or of an object with a text field.
pub(super) fn text_field(value: &Value) -> Option<String> {
    let fields = [
        &value["text"],
        &value["message"]["content"],
        &value["content"],
    ];
    match value {
        Value::Object(_) => fields.into_iter().find_map(message_content),
        other => message_content(other),
    }
}

/// The text of each item of a list, with nested lists flattened; `None` for an item without text.
pub(super) fn text_list(list: &Value) -> Vec<Option<String>> {
    let items = list.as_array().into_iter().flatten();
    let texts = items.flat_map(|item| match item {
        Value::Array(_) if is_chat(item) => vec![as_text(item).or_else(|| text_field(item))],
        Value::Array(inner) => inner.iter().map(text_field).collect(),
        other => vec![text_field(other)],
    });
    texts.collect()
}

/// Whether a value is a list of messages or of content parts.
pub(super) fn is_chat(value: &Value) -> bool {
    let is_message = |item: &Value| item.get("content").is_some() || item.get("type").is_some();
    value
        .as_array()
        .is_some_and(|items| items.iter().any(is_message))
}

/// The id of a prompt: a hash of its text, or of the messages of a chat. `None` if it has no text.
pub(super) fn prompt_hash(prompt: &Value) -> Option<String> {
    let message_of = |message: &Value| {
        Some(Message {
            role: message["role"].as_str().unwrap_or("user").to_owned(),
            content: message_content(&message["content"])?,
        })
    };
    match prompt.as_array() {
        Some(chat) => {
            let messages: Option<Vec<Message>> = chat.iter().map(message_of).collect();
            Some(prompt_id(&messages?))
        }
        None => Some(short_id(&[&as_text(prompt)?])),
    }
}

/// The finite number in a number or a string; `None` for other values.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}
