//! Preference rows: prompt, chosen and rejected as strings or chats, and prompts that two conversations share.

use polyphony_io::columns::parse_columns;
use polyphony_model::chat::Message;
use serde_json::{Map, Value};

use crate::Result;

/// The names of the columns of a preference file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The prompt.
    pub prompt: String,
    /// The chosen response.
    pub chosen: String,
    /// The rejected response.
    pub rejected: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            prompt: "prompt".to_owned(),
            chosen: "chosen".to_owned(),
            rejected: "rejected".to_owned(),
        }
    }
}

impl Columns {
    /// Parses `prompt=question,chosen=winner,rejected=loser`; a role that is not named keeps its own name.
    ///
    /// # Errors
    /// When a role is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::default();
        for (role, column) in parse_columns(text, &["prompt", "chosen", "rejected"])? {
            match role {
                "prompt" => columns.prompt = column,
                "chosen" => columns.chosen = column,
                _ => columns.rejected = column,
            }
        }
        Ok(columns)
    }
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    /// What makes it the same prompt: the text of a string or of a single message, else all messages with
    /// their roles.
    pub(super) key: String,
    /// The contents of its messages, joined by newlines.
    pub(super) text: String,
}

/// A row: a prompt, and the texts of its two responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreferenceRow {
    pub(super) prompt: Prompt,
    pub(super) chosen: String,
    pub(super) rejected: String,
}

/// What a row lacks or has in excess, in words that follow its number.
pub(super) type Refusal = String;

/// A string or a chat.
enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

/// The preference in a row's fields. As in TRL, the prompt may be implicit: the messages with which both
/// conversations begin.
pub(super) fn preference(
    fields: &Map<String, Value>,
    columns: &Columns,
) -> std::result::Result<PreferenceRow, Refusal> {
    let required = |name: &str| {
        text(fields, name)?.ok_or_else(|| format!("has no `{name}`: remove it, or complete it"))
    };
    let (chosen, rejected) = (required(&columns.chosen)?, required(&columns.rejected)?);
    let given = text(fields, &columns.prompt)?.filter(|prompt| !prompt.is_empty());
    let (shared, chosen, rejected) = without_prompt(chosen, rejected);
    let prompt = given.or(shared).ok_or_else(|| {
        let hint = "name its column with --columns, or give conversations that begin with the same messages";
        format!("has no prompt (no `{}`): {hint}", columns.prompt)
    })?;
    Ok(PreferenceRow {
        prompt: prompt.into_prompt(),
        chosen: chosen.content(),
        rejected: rejected.content(),
    })
}

/// A further response in a row's fields: its prompt and its text, from `response`, `completion` or `text`.
pub(super) fn response(
    fields: &Map<String, Value>,
    prompt: &str,
) -> std::result::Result<(Prompt, String), Refusal> {
    let Some(prompt) = text(fields, prompt)?.filter(|prompt| !prompt.is_empty()) else {
        return Err(format!("has no `{prompt}`: remove it, or complete it"));
    };
    for name in RESPONSE {
        if let Some(response) = text(fields, name)? {
            return Ok((prompt.into_prompt(), response.content()));
        }
    }
    Err("has no `response`, `completion` or `text`: remove it, or complete it".to_owned())
}

/// The names of the column of a further response.
pub(super) const RESPONSE: [&str; 3] = ["response", "completion", "text"];

/// A field as a string or a chat; `None` where it is absent, null or a chat without messages.
fn text(fields: &Map<String, Value>, name: &str) -> std::result::Result<Option<Text>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Text::Plain(text.clone()))),
        Some(Value::Array(messages)) if messages.is_empty() => Ok(None),
        Some(value @ Value::Array(_)) => match serde_json::from_value(value.clone()) {
            Ok(messages) => Ok(Some(Text::Chat(messages))),
            Err(error) => Err(format!(
                "`{name}` is no list of messages ({error}): each has a `role` and a `content` that is text"
            )),
        },
        Some(_) => Err(format!(
            "`{name}` is neither a text nor a list of messages: give one of both"
        )),
    }
}

/// Two responses without the messages of the prompt that both conversations begin with, and these.
fn without_prompt(chosen: Text, rejected: Text) -> (Option<Text>, Text, Text) {
    let (mut chosen, mut rejected) = match (chosen, rejected) {
        (Text::Chat(chosen), Text::Chat(rejected)) => (chosen, rejected),
        other => return (None, other.0, other.1),
    };
    let begins_with_prompt = |chat: &[Message]| chat.first().is_some_and(|m| m.role != "assistant");
    if !begins_with_prompt(&chosen) || !begins_with_prompt(&rejected) {
        return (None, Text::Chat(chosen), Text::Chat(rejected));
    }
    let pairs = chosen.iter().zip(&rejected);
    let same = pairs.take_while(|(a, b)| a == b).count();
    // Equal responses, and a response that the other goes on after: the last message answers.
    let same = same.min(chosen.len() - 1).min(rejected.len() - 1);
    let response = chosen.split_off(same);
    let shared = (!chosen.is_empty()).then_some(Text::Chat(chosen));
    (
        shared,
        Text::Chat(response),
        Text::Chat(rejected.split_off(same)),
    )
}

impl Text {
    /// The string, or the contents of the messages joined by newlines.
    fn content(self) -> String {
        match self {
            Self::Plain(text) => text,
            Self::Chat(messages) => {
                let contents: Vec<String> = messages.into_iter().map(|m| m.content).collect();
                contents.join("\n")
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(text) if text.is_empty())
    }

    fn into_prompt(self) -> Prompt {
        let key = match &self {
            Self::Chat(messages) if messages.len() > 1 => {
                let messages = messages.iter().map(|m| (&m.role, &m.content));
                let messages: Vec<Value> = messages
                    .map(|(role, content)| serde_json::json!([role, content]))
                    .collect();
                Some(Value::Array(messages).to_string())
            }
            _ => None,
        };
        let text = self.content();
        Prompt {
            key: key.unwrap_or_else(|| text.clone()),
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: &Value) -> std::result::Result<PreferenceRow, Refusal> {
        preference(row.as_object().unwrap(), &Columns::default())
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    fn assistant(text: &str) -> Value {
        json!({"role": "assistant", "content": text})
    }

    #[test]
    fn strings_chats_and_implicit_prompts_are_the_same_row() {
        let expected = read(&json!({"prompt": "p", "chosen": "a", "rejected": "b"})).unwrap();
        assert_eq!(
            (expected.chosen.as_str(), expected.rejected.as_str()),
            ("a", "b")
        );
        for row in [
            json!({"prompt": [user("p")], "chosen": [assistant("a")], "rejected": [assistant("b")]}),
            json!({"chosen": [user("p"), assistant("a")], "rejected": [user("p"), assistant("b")]}),
            json!({"prompt": "p", "chosen": [user("p"), assistant("a")], "rejected": [user("p"), assistant("b")]}),
            json!({"prompt": "p", "chosen": [assistant("a")], "rejected": "b"}),
        ] {
            assert_eq!(read(&row).unwrap(), expected, "{row}");
        }
    }

    #[test]
    fn turns_with_other_roles_are_other_prompts() {
        let row = |first: Value| {
            let row = json!({"prompt": [first, user("p")], "chosen": "a", "rejected": "b"});
            read(&row).unwrap().prompt
        };
        let (system, earlier) = (
            row(json!({"role": "system", "content": "s"})),
            row(user("s")),
        );
        assert_ne!(system.key, earlier.key);
        assert_eq!(system.text, earlier.text);
    }

    #[test]
    fn equal_conversations_answer_with_their_last_message() {
        let chat = json!([user("p"), assistant("a")]);
        let row = read(&json!({"chosen": chat, "rejected": chat})).unwrap();
        assert_eq!(
            (
                row.prompt.text.as_str(),
                row.chosen.as_str(),
                row.rejected.as_str()
            ),
            ("p", "a", "a")
        );
    }

    #[test]
    fn incomplete_rows_say_what_they_lack() {
        let refused = |row: Value| read(&row).unwrap_err();
        assert!(refused(json!({"chosen": "a", "rejected": "b"})).contains("has no prompt"));
        assert!(
            refused(json!({"prompt": "", "chosen": "a", "rejected": "b"}))
                .contains("has no prompt")
        );
        assert!(refused(json!({"prompt": "p", "rejected": "b"})).contains("has no `chosen`"));
        assert!(
            refused(json!({"prompt": 3, "chosen": "a", "rejected": "b"}))
                .contains("neither a text")
        );
        let parts =
            json!({"prompt": "p", "chosen": [{"role": "user", "content": [1]}], "rejected": "b"});
        assert!(refused(parts).contains("no list of messages"));
    }

    #[test]
    fn columns_may_have_other_names() {
        let columns = Columns::parse("prompt=question,chosen=win").unwrap();
        assert_eq!(columns.rejected, "rejected");
        let row = json!({"question": "p", "win": "a", "rejected": "b"});
        let row = preference(row.as_object().unwrap(), &columns).unwrap();
        assert_eq!(row.prompt.text, "p");
        assert!(Columns::parse("weight=w").is_err());
    }
}
