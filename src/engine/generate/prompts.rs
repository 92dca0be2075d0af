//! Which prompts is a model asked? The distinct ones of a file, in their order.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::ingest::rows::short_hash;
use crate::ingest::source;
use crate::ingest::table;
use crate::model::chat::Message;
use crate::progress::{Progress, Unit};
use crate::{Error, Result};

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its id, given or made from its text.
    pub id: String,
    /// What is said before the answer, by turns.
    pub messages: Vec<Message>,
    /// The last turn: what reports call the prompt.
    pub text: String,
}

/// Reads the prompts of a JSON lines, CSV or Parquet file: a row's `prompt`, a text or a chat, and its
/// `prompt_id` where there is one; `pairs.parquet` as it is. Rows of another `split` are left out.
///
/// # Errors
/// When the file cannot be read, or no row has a prompt.
pub fn read(file: &Path, split: Option<&str>, progress: &dyn Progress) -> Result<Vec<Prompt>> {
    let mut prompts = Vec::new();
    let mut seen = HashSet::new();
    for source in source::find(&[file.to_path_buf()], true)? {
        progress.begin("reading prompts", Some(source.bytes), Unit::Bytes);
        let ending = table::read(&source, progress, &mut |(line, object)| {
            let wrong = |problem: &str| {
                let path = source.path.as_path();
                let remedy = "a row holds `prompt`: a text, or messages of role and content";
                Err(Error::source(path, format!("row {line} {problem}"), remedy))
            };
            let Ok(object) = object else {
                return wrong("is no object");
            };
            let theirs = object.get("split").and_then(Value::as_str);
            if split.is_some_and(|split| theirs != Some(split)) {
                return Ok(());
            }
            let Some(prompt) = prompt(&object) else {
                return wrong("has no prompt");
            };
            if seen.insert(prompt.id.clone()) {
                prompts.push(prompt);
            }
            Ok(())
        })?;
        progress.end();
        if let Some(why) = ending.truncated {
            let problem = format!("ends before its end ({why})");
            return Err(Error::source(&source.path, problem, "fetch it again"));
        }
    }
    if prompts.is_empty() {
        let remedy = "name another file, or another --split";
        return Err(Error::source(file, "holds no prompt", remedy));
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
        _ => short_hash(&[&text]),
    };
    Some(Prompt { id, messages, text })
}
