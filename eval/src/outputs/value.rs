//! What does a value of a row say? A text, a number, a chat, or a message in parts.

use polyphony_io::hash::short_id;
use polyphony_model::chat::Message;
use polyphony_model::generate::prompts::prompt_id;
use serde_json::Value;

/// A text, a number as one, or what the last message of a chat says.
pub(super) fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(chat) => content(&chat.last()?["content"]),
        _ => None,
    }
}

/// The content of a message: a text, or parts of which some are.
pub(super) fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.concat())
        }
        _ => None,
    }
}

/// A text, its parts, or an object that holds one.
pub(super) fn text(value: &Value) -> Option<String> {
    let holders = [
        &value["text"],
        &value["message"]["content"],
        &value["content"],
    ];
    match value {
        Value::Object(_) => holders.into_iter().find_map(content),
        other => content(other),
    }
}

/// The texts of a list, and of lists in it, each at its place; none where there is no text.
pub(super) fn texts(list: &Value) -> Vec<Option<String>> {
    let items = list.as_array().into_iter().flatten();
    let texts = items.flat_map(|item| match item {
        Value::Array(_) if is_chat(item) => vec![said(item).or_else(|| text(item))],
        Value::Array(inner) => inner.iter().map(text).collect(),
        other => vec![text(other)],
    });
    texts.collect()
}

/// Whether a value is a list of messages or of a message's parts.
pub(super) fn is_chat(value: &Value) -> bool {
    let known = |item: &Value| item.get("content").is_some() || item.get("type").is_some();
    value
        .as_array()
        .is_some_and(|items| items.iter().any(known))
}

/// The id of a prompt that has none: of its text, of a chat's turns.
pub(super) fn hash(prompt: &Value) -> Option<String> {
    let turn = |message: &Value| {
        Some(Message {
            role: message["role"].as_str().unwrap_or("user").to_owned(),
            content: content(&message["content"])?,
        })
    };
    match prompt.as_array() {
        Some(chat) => {
            let turns: Option<Vec<Message>> = chat.iter().map(turn).collect();
            Some(prompt_id(&turns?))
        }
        None => Some(short_id(&[&said(prompt)?])),
    }
}

/// A number, or a text that is one; finite.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}
