//! Which texts are in a row of a file? Flat rows, lists of generations, harness samples, API batches.

use std::path::Path;

use polyphony_engine::ingest::rows::short_hash;
use polyphony_engine::{Error, Result};
use serde_json::{Map, Value};

/// Which column holds what, where the usual names do not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub(super) given: Vec<(usize, String)>,
    /// The column of scores; empty for none.
    pub score: Option<String>,
    /// The columns of given diversity: semantic and style.
    pub spaces: [Option<String>; 2],
}

/// What a column can be, and the names it usually has.
const ROLES: [(&str, &[&str]); 7] = [
    ("model", &["model", "model_name", "generator", "model_id"]),
    (
        "prompt_id",
        &["prompt_id", "question_id", "instruction_id", "doc_id", "id"],
    ),
    ("prompt", &["prompt", "instruction", "question", "input"]),
    (
        "response",
        &[
            "response",
            "output",
            "completion",
            "generation",
            "generated_text",
            "text",
            "story",
        ],
    ),
    ("sample", &["sample", "iteration", "sample_id", "seed"]),
    ("score", &["score", "reward", "reddit_reward", "rating"]),
    ("class", &["class", "partition", "cluster"]),
];
const MODEL: usize = 0;
const PROMPT_ID: usize = 1;
const PROMPT: usize = 2;
const RESPONSE: usize = 3;
const SAMPLE: usize = 4;
const SCORE: usize = 5;
const CLASS: usize = 6;
/// The columns of given diversity, as the paper's code names them.
const SPACES: [&str; 2] = ["semantic_diversity", "style_diversity"];
/// Lists of texts in a row.
const LISTS: [&str; 4] = ["generations", "responses", "outputs", "completions"];

/// A text as a row gives it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text {
    pub(super) model: String,
    pub(super) prompt_id: String,
    pub(super) prompt: String,
    pub(super) response: String,
    pub(super) sample: Option<i64>,
    pub(super) score: Option<f64>,
    pub(super) score_column: Option<String>,
    pub(super) score_is_no_number: bool,
    pub(super) class: Option<i64>,
    pub(super) given: [Option<f64>; 2],
}

impl Columns {
    /// Reads `response=story,model=who`.
    ///
    /// # Errors
    /// When a role is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let known = pair.split_once('=').and_then(|(role, column)| {
                let role = ROLES.iter().position(|(name, _)| *name == role.trim())?;
                Some((role, column.trim().to_owned()))
            });
            let roles: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
            columns.given.push(known.ok_or_else(|| Error::Unknown {
                what: "column role",
                given: pair.to_owned(),
                known: format!("ROLE=COLUMN with a role of {}", roles.join(", ")),
            })?);
        }
        Ok(columns)
    }

    /// Refuses a file that lacks a column that was named.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn check(&self, object: &Map<String, Value>, path: &Path) -> Result<()> {
        let given = self.given.iter().map(|(_, column)| column);
        let mut asked = given.chain(&self.score).chain(self.spaces.iter().flatten());
        match asked.find(|column| !object.contains_key(*column)) {
            None => Ok(()),
            Some(missing) => {
                let names: Vec<&str> = object.keys().map(String::as_str).collect();
                Err(Error::Unknown {
                    what: "column",
                    given: missing.clone(),
                    known: format!("{} in {}", names.join(", "), path.display()),
                })
            }
        }
    }

    /// The column of a role in this row: the one that was named, or the first usual one.
    fn find<'a>(&self, role: usize, object: &'a Map<String, Value>) -> Option<(String, &'a Value)> {
        if role == SCORE
            && let Some(column) = &self.score
        {
            return Some((column.clone(), object.get(column)?));
        }
        if let Some((_, column)) = self.given.iter().find(|(given, _)| *given == role) {
            return Some((column.clone(), object.get(column)?));
        }
        let usual = ROLES[role].1.iter();
        usual
            .filter_map(|name| Some(((*name).to_owned(), object.get(*name)?)))
            .find(|(_, value)| !value.is_null())
    }
}

/// The name of a file without folders.
pub(super) fn label(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Who wrote the texts of a file that does not say: the file's name without endings; of a harness's
/// `samples_*`, its folder's.
pub(super) fn author(path: &Path) -> String {
    let name = label(path);
    let folder = path.parent().map(label);
    match folder {
        Some(folder) if name.starts_with("samples_") && !folder.is_empty() => folder,
        _ => name.split('.').next().unwrap_or_default().to_owned(),
    }
}

/// The texts of a row; none where it holds no text, or nothing that says to which prompt.
pub(super) fn texts(
    object: &Map<String, Value>,
    columns: &Columns,
    author: &str,
    forced: Option<&str>,
) -> Vec<Text> {
    let mut row = shared(object, columns);
    let responses = responses(object, columns);
    let body = &object
        .get("response")
        .map_or(&Value::Null, |response| &response["body"]);
    if row.model.is_empty() {
        body["model"]
            .as_str()
            .unwrap_or(author)
            .clone_into(&mut row.model);
    }
    if let Some(forced) = forced {
        forced.clone_into(&mut row.model);
    }
    if row.prompt_id.is_empty() {
        if row.prompt.is_empty() {
            return Vec::new();
        }
        row.prompt_id = short_hash(&[&row.prompt]);
    }
    let several = responses.len() > 1;
    let list = |name: &str, at: usize| object.get(name).and_then(|list| list.get(at));
    let texts = responses.into_iter().enumerate().map(|(at, response)| {
        let mut text = Text {
            response,
            ..row.clone()
        };
        if several {
            text.sample = None;
            // NoveltyBench keeps a list beside the list of texts.
            for name in ["generation_scores", "scores"] {
                if let Some(score) = list(name, at) {
                    text.set_score(name, score);
                }
            }
            text.class = list("partition", at).and_then(Value::as_i64).or(text.class);
        }
        text
    });
    texts.collect()
}

/// What all texts of a row share.
fn shared(object: &Map<String, Value>, columns: &Columns) -> Text {
    let find = |role| columns.find(role, object).map(|(_, value)| value);
    let harness = object.get("arguments").and_then(|arguments| {
        let first = &arguments["gen_args_0"]["arg_0"];
        first.as_str().or(arguments[0][0].as_str())
    });
    let prompt = match harness {
        Some(prompt) => Some(prompt.to_owned()),
        None => find(PROMPT).and_then(said),
    };
    let batch_id = object.get("custom_id").filter(|_| is_batch(object));
    let mut text = Text {
        model: find(MODEL).and_then(said).unwrap_or_default(),
        prompt_id: batch_id
            .or(find(PROMPT_ID))
            .and_then(said)
            .unwrap_or_default(),
        prompt: prompt.unwrap_or_default(),
        sample: find(SAMPLE).and_then(number).map(|sample| sample as i64),
        class: find(CLASS).and_then(number).map(|class| class as i64),
        ..Text::default()
    };
    if let Some((name, score)) = columns.find(SCORE, object) {
        text.set_score(&name, score);
    }
    for (space, usual) in SPACES.iter().enumerate() {
        let name = columns.spaces[space].as_deref().unwrap_or(usual);
        text.given[space] = object.get(name).and_then(number);
    }
    text
}

impl Text {
    fn set_score(&mut self, column: &str, score: &Value) {
        if score.is_null() || score.as_str() == Some("") || score.is_array() {
            return;
        }
        self.score_column = Some(column.to_owned());
        self.score = number(score);
        self.score_is_no_number = self.score.is_none();
    }
}

fn is_batch(object: &Map<String, Value>) -> bool {
    object
        .get("response")
        .is_some_and(|response| response["body"]["choices"].is_array())
}

/// The texts of a row, in their order.
fn responses(object: &Map<String, Value>, columns: &Columns) -> Vec<String> {
    if is_batch(object) {
        let choices = object["response"]["body"]["choices"].as_array();
        let texts = choices.into_iter().flatten().filter_map(|choice| {
            choice["message"]["content"]
                .as_str()
                .or(choice["text"].as_str())
        });
        return texts.map(str::to_owned).collect();
    }
    let flat = |list: &Value| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        let texts = items.flat_map(|item| match item {
            Value::Array(inner) => inner.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect::<Vec<_>>(),
        });
        texts.map(str::to_owned).collect()
    };
    let harness = object
        .get("resps")
        .filter(|_| object.contains_key("doc_id"));
    if let Some(list) = harness {
        return flat(list);
    }
    if let Some((_, response)) = columns.find(RESPONSE, object) {
        return said(response).into_iter().collect();
    }
    let list = LISTS
        .iter()
        .find_map(|name| object.get(*name).filter(|list| list.is_array()));
    list.map(flat).unwrap_or_default()
}

/// A text, a number as one, or what the last message of a chat says.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(chat) => chat.last()?["content"].as_str().map(str::to_owned),
        _ => None,
    }
}

/// A number, or a text that is one; finite.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: &Value) -> Vec<Text> {
        texts(row.as_object().unwrap(), &Columns::default(), "file", None)
    }

    #[test]
    fn every_layout_gives_its_texts() {
        let flat = read(&json!({"model": "m", "prompt_id": 3, "response": "a", "score": "1.5"}));
        assert_eq!(
            (flat[0].model.as_str(), flat[0].prompt_id.as_str()),
            ("m", "3")
        );
        assert_eq!(flat[0].score, Some(1.5));

        let novelty = read(&json!({
            "id": "x", "prompt": "p", "generations": ["a", "b"], "partition": [0, 1],
            "generation_scores": [2, 0],
        }));
        let classes: Vec<_> = novelty
            .iter()
            .map(|text| (text.class, text.score))
            .collect();
        assert_eq!(classes, [(Some(0), Some(2.0)), (Some(1), Some(0.0))]);
        assert_eq!(novelty[1].model, "file");

        let harness = read(&json!({
            "doc_id": 7, "arguments": {"gen_args_0": {"arg_0": "p", "arg_1": {}}},
            "resps": [["a", "b"]], "filtered_resps": ["a"],
        }));
        assert_eq!(harness.len(), 2);
        assert_eq!(
            (harness[0].prompt_id.as_str(), harness[0].prompt.as_str()),
            ("7", "p")
        );
        let older = read(&json!({"doc_id": 7, "arguments": [["p", {}]], "resps": [["a"]]}));
        assert_eq!(older[0].prompt, "p");

        let batch = read(
            &json!({"custom_id": "c", "response": {"status_code": 200, "body": {
                "model": "m", "choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}],
            }}}),
        );
        assert_eq!((batch.len(), batch[1].response.as_str()), (2, "b"));
        assert_eq!(
            (batch[0].model.as_str(), batch[0].prompt_id.as_str()),
            ("m", "c")
        );

        let chat = read(&json!({
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}],
            "completion": [{"role": "assistant", "content": "a"}],
        }));
        assert_eq!(
            (chat[0].prompt.as_str(), chat[0].response.as_str()),
            ("p", "a")
        );
        assert_eq!(chat[0].prompt_id.len(), short_hash(&["p"]).len());
    }

    #[test]
    fn what_is_missing_is_missing() {
        assert!(read(&json!({"response": "a"})).is_empty());
        assert!(read(&json!({"prompt": "a"})).is_empty());
        let text = read(&json!({"prompt": "p", "response": "", "score": "nan"}));
        assert!(text[0].score_is_no_number && text[0].score.is_none());
        assert!(
            read(&json!({"prompt": "p", "response": "a", "score": null}))[0]
                .score
                .is_none()
        );
    }
}
