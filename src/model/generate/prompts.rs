//! Prompts for generation: the distinct prompts of a file, in file order.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::chat::Message;
use crate::{Error, Result};
use polyphony_io::format::find_files;
use polyphony_io::hash::{fnv1a, short_id};
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};

/// A prompt: one message or a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Prompt id: the file's `prompt_id` if it has one, else that of [`prompt_id`].
    pub id: String,
    /// The messages of the chat.
    pub messages: Vec<Message>,
    /// The content of the last message, by which reports show the prompt.
    pub text: String,
}

/// Reads the prompts of a JSON, CSV, TSV or Parquet file: a row's `prompt`, a text or a chat, and its optional
/// `prompt_id`. `pairs.parquet` is such a file. Rows of another `split` are skipped.
///
/// # Errors
/// When the file cannot be read, a row has no prompt, or two prompts have the same id.
pub fn read_prompts(
    file: &Path,
    split: Option<&str>,
    progress: &dyn Progress,
) -> Result<Vec<Prompt>> {
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let options = ReadOptions {
        columns: Some(&["prompt", "prompt_id", "split"]),
        is_row: &|fields| fields.contains_key("prompt"),
    };
    for source in find_files(&[file.to_path_buf()], &|_| true)? {
        progress.start("reading prompts", Some(source.bytes), Unit::Bytes);
        let outcome = records::read(&source, &options, progress, &mut |(line, object)| {
            let wrong = |message: &str| {
                let path = source.path.as_path();
                let hint = "each row needs `prompt`: a text, or messages with role and content";
                Err(Error::input(path, format!("row {line} {message}"), hint))
            };
            let object = object.map_err(|text| records::malformed_row(&source, line, text))?;
            let row_split = object.get("split").and_then(Value::as_str);
            if split.is_some_and(|split| row_split != Some(split)) {
                return Ok(());
            }
            let Some(prompt) = parse_prompt(&object) else {
                return wrong("has no prompt");
            };
            match seen.get(&prompt.id) {
                None => {
                    seen.insert(prompt.id.clone(), prompts.len());
                    prompts.push(prompt);
                }
                Some(first) if prompts[*first].messages == prompt.messages => {}
                Some(_) => {
                    let message = format!(
                        "row {line} has the prompt_id `{}` of another prompt",
                        prompt.id
                    );
                    let hint = "give each prompt its own id, or drop the column";
                    return Err(Error::input(&source.path, message, hint));
                }
            }
            Ok(())
        })?;
        progress.finish();
        outcome.require_complete(&source.path)?;
    }
    if prompts.is_empty() {
        let hint = "name another file, or another --split";
        return Err(Error::input(file, "has no prompt", hint));
    }
    Ok(prompts)
}

/// The prompt of a row: a text, which becomes a user message, or a list of messages; `None` if invalid.
fn parse_prompt(object: &Map<String, Value>) -> Option<Prompt> {
    let messages = match object.get("prompt")? {
        Value::String(text) => vec![Message {
            role: "user".to_owned(),
            content: text.clone(),
        }],
        chat => serde_json::from_value(chat.clone()).ok()?,
    };
    let text = messages.last()?.content.clone();
    let id = match object.get("prompt_id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => prompt_id(&messages),
    };
    Some(Prompt { id, messages, text })
}

/// Prompt id of a prompt without one: the hash of its text or, with several messages, of their roles and
/// contents.
pub fn prompt_id(messages: &[Message]) -> String {
    match messages {
        [only] => short_id(&[&only.content]),
        several => {
            let parts = several.iter();
            let parts = parts.flat_map(|message| [&message.role, &message.content]);
            let parts: Vec<&str> = parts.map(String::as_str).collect();
            short_id(&parts)
        }
    }
}

/// The fields of a manifest that describe the prompts: their number, and a hash of ids and messages.
pub(super) fn describe(prompts: &[Prompt]) -> Value {
    let mut bytes = Vec::new();
    for prompt in prompts {
        bytes.extend(prompt.id.bytes().chain([0]));
        for message in &prompt.messages {
            bytes.extend(message.role.bytes().chain([0]));
            bytes.extend(message.content.bytes().chain([0]));
        }
    }
    json!({ "count": prompts.len(), "hash": format!("{:016x}", fnv1a(&bytes)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyphony_io::progress::NoProgress;

    /// The prompts of JSON Lines.
    fn read_rows(rows: &str) -> Result<Vec<Prompt>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        std::fs::write(&path, rows).unwrap();
        read_prompts(&path, None, &NoProgress)
    }

    #[test]
    fn chats_with_the_same_last_message_are_distinct_prompts() {
        let chat = |first: &str| {
            format!(
                r#"{{"prompt":[{{"role":"system","content":"{first}"}},{{"role":"user","content":"go"}}]}}"#
            )
        };
        let rows = [chat("one"), chat("two"), chat("one")].join("\n");
        let prompts = read_rows(&rows).unwrap();
        assert_eq!(prompts.len(), 2);
        assert_eq!(
            (prompts[0].text.as_str(), prompts[1].text.as_str()),
            ("go", "go")
        );
        let one = read_rows(r#"{"prompt":[{"role":"user","content":"go"}]}"#).unwrap();
        assert_eq!(one[0].id, read_rows(r#"{"prompt":"go"}"#).unwrap()[0].id);
    }

    #[test]
    fn two_prompts_with_the_same_id_are_an_error() {
        let same = "{\"prompt_id\":1,\"prompt\":\"a\"}\n";
        assert_eq!(read_rows(&same.repeat(3)).unwrap().len(), 1);
        let other = format!("{same}{{\"prompt_id\":1,\"prompt\":\"b\"}}\n");
        let message = read_rows(&other).unwrap_err().to_string();
        assert!(message.contains("row 2 has the prompt_id `1`"), "{message}");
    }
}
