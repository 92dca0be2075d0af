//! Which prompts is a model asked? The distinct ones of a file, in their order.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::chat::Message;
use crate::{Error, Result};
use polyphony_io::format::find_files;
use polyphony_io::hash::short_id;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its id, given or made from what is said.
    pub id: String,
    /// What is said before the answer, by turns.
    pub messages: Vec<Message>,
    /// The last turn: what reports call the prompt.
    pub text: String,
}

/// Reads the prompts of a JSON, CSV, TSV or Parquet file: a row's `prompt`, a text or a chat, and its
/// `prompt_id` where there is one; `pairs.parquet` as it is. Rows of another `split` are left out.
///
/// # Errors
/// When the file cannot be read, no row has a prompt, or one id stands for two prompts.
pub fn read(file: &Path, split: Option<&str>, progress: &dyn Progress) -> Result<Vec<Prompt>> {
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let options = ReadOptions {
        columns: Some(&["prompt", "prompt_id", "split"]),
        is_row: &|fields| fields.contains_key("prompt"),
    };
    for source in find_files(&[file.to_path_buf()])? {
        progress.start("reading prompts", Some(source.bytes), Unit::Bytes);
        let outcome = records::read(&source, &options, progress, &mut |(line, object)| {
            let wrong = |message: &str| {
                let path = source.path.as_path();
                let hint = "a row holds `prompt`: a text, or messages of role and content";
                Err(Error::input(path, format!("row {line} {message}"), hint))
            };
            let object = object.map_err(|text| records::malformed_row(&source, line, text))?;
            let theirs = object.get("split").and_then(Value::as_str);
            if split.is_some_and(|split| theirs != Some(split)) {
                return Ok(());
            }
            let Some(prompt) = prompt(&object) else {
                return wrong("has no prompt");
            };
            match seen.get(&prompt.id) {
                None => {
                    seen.insert(prompt.id.clone(), prompts.len());
                    prompts.push(prompt);
                }
                Some(known) if prompts[*known].messages == prompt.messages => {}
                Some(_) => {
                    let message = format!(
                        "row {line} has the prompt_id `{}` of another prompt",
                        prompt.id
                    );
                    let hint = "give each prompt an id of its own, or none";
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
        return Err(Error::input(file, "holds no prompt", hint));
    }
    Ok(prompts)
}

fn prompt(object: &Map<String, Value>) -> Option<Prompt> {
    let given = object.get("prompt")?;
    let messages = match given {
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
        _ => id_of(&messages),
    };
    Some(Prompt { id, messages, text })
}

/// The id of a prompt that has none: the hash of its text, and of who says what where there are several
/// turns.
pub fn id_of(messages: &[Message]) -> String {
    match messages {
        [only] => short_id(&[&only.content]),
        turns => {
            let parts = turns.iter().flat_map(|turn| [&turn.role, &turn.content]);
            let parts: Vec<&str> = parts.map(String::as_str).collect();
            short_id(&parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyphony_io::progress::NoProgress;

    fn of(rows: &str) -> Result<Vec<Prompt>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        std::fs::write(&path, rows).unwrap();
        read(&path, None, &NoProgress)
    }

    #[test]
    fn chats_that_end_alike_are_told_apart() {
        let chat = |first: &str| {
            format!(
                r#"{{"prompt":[{{"role":"system","content":"{first}"}},{{"role":"user","content":"go"}}]}}"#
            )
        };
        let rows = [chat("one"), chat("two"), chat("one")].join("\n");
        let prompts = of(&rows).unwrap();
        assert_eq!(prompts.len(), 2);
        assert_eq!(
            (prompts[0].text.as_str(), prompts[1].text.as_str()),
            ("go", "go")
        );
        let one = of(r#"{"prompt":[{"role":"user","content":"go"}]}"#).unwrap();
        assert_eq!(one[0].id, of(r#"{"prompt":"go"}"#).unwrap()[0].id);
    }

    #[test]
    fn an_id_of_two_prompts_is_refused() {
        let same = "{\"prompt_id\":1,\"prompt\":\"a\"}\n";
        assert_eq!(of(&same.repeat(3)).unwrap().len(), 1);
        let other = format!("{same}{{\"prompt_id\":1,\"prompt\":\"b\"}}\n");
        let refused = of(&other).unwrap_err().to_string();
        assert!(refused.contains("row 2 has the prompt_id `1`"), "{refused}");
    }
}
