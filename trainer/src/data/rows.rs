//! Rows of training data: prompts and responses as strings or message lists, weights, scores and splits.

use std::path::Path;

use polyphony_io::format::RowFile;
use polyphony_io::progress::NoProgress;
use polyphony_io::records::{self, ReadOptions, non_finite};
use polyphony_io::{Error, Result};
use polyphony_model::chat::Message;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A string, or a message list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

/// A row of training data, with TRL's column names.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) prompt: Option<Text>,
    pub(crate) chosen: Option<Text>,
    pub(crate) rejected: Option<Text>,
    #[serde(alias = "completion")]
    pub(crate) response: Option<Text>,
    pub(crate) messages: Option<Vec<Message>>,
    #[serde(skip)]
    pub(crate) weight: Option<f64>,
    #[serde(skip)]
    pub(crate) score: Option<f64>,
    pub(crate) split: Option<String>,
}

/// The columns of a [`Row`] and their aliases: no others are read.
const COLUMNS: [&str; 10] = [
    "prompt",
    "chosen",
    "rejected",
    "response",
    "completion",
    "messages",
    "weight",
    "score",
    "votes",
    "split",
];

impl Text {
    /// Whether it is a string, not a message list.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether it is a full conversation, which includes the prompt, not the response alone.
    pub(crate) fn is_conversation(&self) -> bool {
        matches!(self, Self::Chat(messages) if is_conversation(messages))
    }

    /// The messages; a string becomes one message of `role`.
    pub(crate) fn messages(&self, role: &str) -> Vec<Message> {
        match self {
            Self::Chat(messages) => messages.clone(),
            Self::Plain(text) => vec![Message {
                role: role.to_owned(),
                content: text.clone(),
            }],
        }
    }
}

/// Whether messages are a full conversation: they begin with the prompt, not with the response.
pub(crate) fn is_conversation(messages: &[Message]) -> bool {
    messages.first().is_some_and(|m| m.role != "assistant")
}

/// Splits a conversation into prompt and response, the last message.
pub(crate) fn split_response(mut messages: Vec<Message>) -> (Text, Text) {
    let response = messages.split_off(messages.len().saturating_sub(1));
    (Text::Chat(messages), Text::Chat(response))
}

/// The string, or the contents of the messages joined by newlines.
pub(crate) fn content(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Chat(messages) => {
            let contents: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
            contents.join("\n")
        }
    }
}

/// The prompt that two conversations share, and the messages after it in each (TRL: `extract_prompt`).
pub(crate) fn extract_prompt(chosen: Text, rejected: Text) -> Option<(Text, Text, Text)> {
    let (Text::Chat(chosen), Text::Chat(rejected)) = (chosen, rejected) else {
        return None;
    };
    let pairs = chosen.iter().zip(&rejected);
    let same = pairs.take_while(|(a, b)| a == b).count();
    let (prompt, chosen) = chosen.split_at(same);
    (same > 0 && !chosen.is_empty()).then(|| {
        (
            Text::Chat(prompt.to_vec()),
            Text::Chat(chosen.to_vec()),
            Text::Chat(rejected[same..].to_vec()),
        )
    })
}

/// Reads the rows of a file and passes each to `take`, with its number, from 1.
///
/// # Errors
/// When the file cannot be read, a column has a wrong type, or `take` fails.
pub(crate) fn rows(path: &Path, mut take: impl FnMut(i64, Row) -> Result<()>) -> Result<()> {
    let file = RowFile::open(path)?;
    let options = ReadOptions {
        columns: Some(&COLUMNS),
        is_row: &|fields| COLUMNS.iter().any(|column| fields.contains_key(*column)),
    };
    let outcome = records::read(&file, &options, &NoProgress, &mut |(number, fields)| {
        let fields = fields.map_err(|text| records::malformed_row(&file, number, text))?;
        let row = Row::from_fields(fields).map_err(|error| {
            let message = format!("row {number}: invalid ({error})");
            Error::input(
                path,
                message,
                "rows need prompt, chosen, rejected, and for ddpo and dorpo weight",
            )
        })?;
        take(number, row)
    })?;
    outcome.require_complete(path).map(drop)
}

impl Row {
    /// A row from its fields. In CSV files numbers and splits are strings, empty where missing.
    fn from_fields(mut fields: Map<String, Value>) -> serde_json::Result<Self> {
        let mut number = |names: [&str; 2]| {
            let values = names.map(|name| fields.remove(name));
            values
                .into_iter()
                .flatten()
                .find_map(|value| number(&value))
        };
        let (weight, score) = (number(["weight", "weight"]), number(["score", "votes"]));
        fields.retain(|name, value| !(name == "split" && value.as_str() == Some("")));
        let mut row: Self = serde_json::from_value(Value::Object(fields))?;
        (row.weight, row.score) = (weight, score);
        Ok(row)
    }
}

/// A number, or a string that is parsed as one. Any other value becomes NaN, which the reader rejects where
/// the number is used.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => None,
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(text.trim().parse().unwrap_or(f64::NAN)),
        value => Some(
            value
                .as_f64()
                .or_else(|| non_finite(value))
                .unwrap_or(f64::NAN),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_formats_give_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let row = r#"{"prompt":"p","chosen":"a\nb","rejected":"c","weight":0.5,"votes":3}"#;
        let csv = "prompt,chosen,rejected,weight,votes,split\np,\"a\nb\",c,0.5,3,\n";
        for (name, text) in [
            ("a.jsonl", row.to_owned()),
            ("a.json", format!("[{row}]")),
            ("b.json", row.to_owned()),
            ("a.csv", csv.to_owned()),
            ("b.csv", csv.replace(',', ";")),
            ("a.tsv", csv.replace(',', "\t")),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, format!("\u{feff}{text}")).unwrap();
            let mut count = 0;
            rows(&path, |_, row| {
                count += 1;
                assert_eq!(
                    row.chosen.as_ref().map(content).as_deref(),
                    Some("a\nb"),
                    "{name}"
                );
                assert_eq!((row.weight, row.score), (Some(0.5), Some(3.0)), "{name}");
                assert_eq!(row.split, None, "{name}");
                Ok(())
            })
            .unwrap();
            assert_eq!(count, 1, "{name}");
        }
    }

    #[test]
    fn a_conversation_in_a_json_file_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, r#"{"messages":[{"role":"user","content":"p"}]}"#).unwrap();
        let mut messages = 0;
        rows(&path, |_, row| {
            messages += row.messages.map_or(0, |messages| messages.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(messages, 1);
    }

    #[test]
    fn a_non_finite_weight_is_read_as_non_finite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(
            &path,
            r#"{"prompt":"p","chosen":"a","rejected":"b","weight":NaN}"#,
        )
        .unwrap();
        rows(&path, |_, row| {
            assert!(row.weight.is_some_and(f64::is_nan));
            Ok(())
        })
        .unwrap();
    }
}
