//! Which rows has a file, and what stands in each? Parquet or JSON lines, texts or chats.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polyphony_io::{Error, Result};
use polyphony_model::chat::Message;
use serde::Deserialize;

/// A text, or a chat.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

/// A row, as TRL's formats name its columns.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) prompt: Option<Text>,
    pub(crate) chosen: Option<Text>,
    pub(crate) rejected: Option<Text>,
    #[serde(alias = "completion")]
    pub(crate) response: Option<Text>,
    pub(crate) messages: Option<Vec<Message>>,
    pub(crate) weight: Option<f64>,
    #[serde(alias = "votes")]
    pub(crate) score: Option<f64>,
    pub(crate) split: Option<String>,
}

/// The columns that a [`Row`] takes, by all their names: no others are read.
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
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether it is a whole chat, not the answer alone.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Chat(messages) if is_whole(messages))
    }

    /// As a chat: a text is what `role` says.
    pub(crate) fn chat(&self, role: &str) -> Vec<Message> {
        match self {
            Self::Chat(messages) => messages.clone(),
            Self::Plain(text) => vec![Message {
                role: role.to_owned(),
                content: text.clone(),
            }],
        }
    }
}

/// Whether a chat begins before its answer.
pub(crate) fn is_whole(messages: &[Message]) -> bool {
    messages.first().is_some_and(|m| m.role != "assistant")
}

/// A whole chat as what comes before its last message, and that.
pub(crate) fn parted(mut messages: Vec<Message>) -> (Text, Text) {
    let answer = messages.split_off(messages.len().saturating_sub(1));
    (Text::Chat(messages), Text::Chat(answer))
}

/// A text, or what is said in a chat.
pub(crate) fn plain(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Chat(messages) => {
            let said: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
            said.join("\n")
        }
    }
}

/// The prompt that both answers begin with, where they are whole chats (TRL: `extract_prompt`).
pub(crate) fn implicit(chosen: Text, rejected: Text) -> Option<(Text, Text, Text)> {
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

/// Gives each row of a file to `take`, with its number from 1, until it gives false; whether it
/// took them all.
pub(crate) fn rows(file: &Path, mut take: impl FnMut(usize, Row) -> Result<bool>) -> Result<bool> {
    let end = file.extension().and_then(|end| end.to_str());
    let open = || File::open(file).map_err(Error::io("read", file));
    match end {
        Some("parquet") => {
            let refused = |error: &dyn std::fmt::Display| {
                let message = format!("cannot be read as Parquet ({error})");
                Error::input(file, message, "make it anew")
            };
            let reader = ParquetRecordBatchReaderBuilder::try_new(open()?);
            let reader = reader.map_err(|error| refused(&error))?;
            let known = ProjectionMask::columns(reader.parquet_schema(), COLUMNS);
            let reader = reader.with_projection(known).build();
            let mut before = 0;
            for batch in reader.map_err(|error| refused(&error))? {
                let batch = batch.map_err(|error| refused(&error))?;
                let mut lines = LineDelimitedWriter::new(Vec::new());
                lines.write(&batch)?;
                lines.finish()?;
                if !parse(Cursor::new(lines.into_inner()), file, before, &mut take)? {
                    return Ok(false);
                }
                before += batch.num_rows();
            }
            Ok(true)
        }
        Some("jsonl" | "json") => parse(BufReader::new(open()?), file, 0, &mut take),
        _ => {
            let hint = "name a .parquet or .jsonl file";
            Err(Error::input(file, "is of no known kind", hint))
        }
    }
}

/// Gives each line to `take`, as [`rows`] does; so many rows are `before` the first.
fn parse(
    lines: impl BufRead,
    file: &Path,
    before: usize,
    take: &mut impl FnMut(usize, Row) -> Result<bool>,
) -> Result<bool> {
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(Error::io("read", file))?;
        if line.trim().is_empty() {
            continue;
        }
        let number = before + number + 1;
        let row = serde_json::from_str(&line).map_err(|error| {
            let message = format!("row {number} cannot be read ({error})");
            Error::input(file, message, "rows hold prompt, chosen, rejected, weight")
        })?;
        if !take(number, row)? {
            return Ok(false);
        }
    }
    Ok(true)
}
