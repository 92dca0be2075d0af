//! JSON answers: `{"responses": [{"text": .., "probability": ..}, ..]}` and its variants.

use serde_json::{Map, Value};

use super::answers::{Answer, Reason, Unparsed};
use super::lenient_json::{self, Json};
use super::probability::probability_of;

/// The keys of an answer's text, by priority.
const TEXTS: [&str; 6] = ["text", "response", "answer", "story", "content", "output"];
/// The keys of its probability, by priority.
const PROBABILITIES: [&str; 5] = ["probability", "prob", "p", "likelihood", "confidence"];

/// The answers of a text with JSON, in order; `None` if it has no JSON with an answer.
pub(super) fn parse(text: &str) -> Option<Vec<Result<Answer, Unparsed>>> {
    let Json {
        values,
        ended_in_string,
    } = lenient_json::parse(text);
    let mut items = Vec::new();
    for value in &values {
        let before = items.len();
        collect(value, &mut items);
        // Braces in a sentence around the answers are no answers.
        if items[before..].iter().all(Result::is_err) && before > 0 {
            items.truncate(before);
        }
    }
    if let Some(Ok(last)) = items.last_mut() {
        last.is_cut_off = ended_in_string && last.probability.is_none();
    }
    items.iter().any(Result::is_ok).then_some(items)
}

/// Appends the answers in a value.
fn collect(value: &Value, items: &mut Vec<Result<Answer, Unparsed>>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = first(object, &TEXTS) {
                let probability = first(object, &PROBABILITIES).and_then(probability_of);
                items.push(answer(text, probability, value));
                return;
            }
            let before = items.len();
            let is_nested = |value: &&Value| value.is_array() || value.is_object();
            for nested in object.values().filter(is_nested) {
                collect(nested, items);
            }
            if items.len() == before {
                items.push(Err(Unparsed::new(Reason::NoText, &value.to_string())));
            }
        }
        Value::Array(list) => {
            for item in list {
                match item {
                    Value::String(text) => items.push(answer(text, None, item)),
                    other => collect(other, items),
                }
            }
        }
        other => items.push(Err(Unparsed::new(Reason::NoText, &other.to_string()))),
    }
}

fn answer(text: &str, probability: Option<f64>, value: &Value) -> Result<Answer, Unparsed> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Unparsed::new(Reason::EmptyText, &value.to_string()));
    }
    Ok(Answer {
        text: text.to_owned(),
        probability,
        is_cut_off: false,
    })
}

/// The value of the first of these keys, in any case.
fn first<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| {
        let entry = object
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key));
        entry.map(|(_, value)| value)
    })
}
