//! Which texts are in a row of a file? Flat rows, lists of generations, harness samples, API batches.

use std::path::Path;

use polyphony_io::hash::short_id;
use serde_json::{Map, Value};

use super::columns::{CLASS, Columns, MODEL, PROMPT, PROMPT_ID, RESPONSE, SAMPLE};
use super::value::{content, hash, is_chat, number, said, text, texts as quoted_list};

/// Lists of texts in a row.
const LISTS: [&str; 4] = ["generations", "responses", "outputs", "completions"];

/// `NoveltyBench`'s lists beside a list of texts: what each is worth to a reader, which is 0 where its
/// class stood there before, and the reward of each class.
const UTILITIES: &str = "generation_scores";
const CLASS_SCORES: &str = "partition_scores";

/// A text as a row gives it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text {
    pub(super) model: String,
    pub(super) prompt_id: String,
    /// Whether the row gives the prompt's id.
    pub(super) has_id: bool,
    /// Whether the id's column says that it is a prompt's, and not a row's.
    pub(super) is_prompt_id: bool,
    pub(super) prompt: String,
    /// The id that the prompt has by what it says; empty where the row does not say it.
    pub(super) prompt_hash: String,
    pub(super) response: String,
    pub(super) sample: Option<i64>,
    pub(super) score: Option<f64>,
    pub(super) score_is_no_number: bool,
    /// What it is worth to a reader, from 1 to 10, where the row says so (`NoveltyBench`).
    pub(super) utility: Option<f64>,
    pub(super) class: Option<i64>,
    pub(super) given: [Option<f64>; 2],
}

/// The texts of a row.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) texts: Vec<Text>,
    /// How many places of its list hold none.
    pub(super) without: u64,
}

/// The texts that a row holds, each at its place.
#[derive(Default)]
struct Found {
    texts: Vec<Option<String>>,
    /// Whether they are a list, to which lists of scores and classes belong.
    list: bool,
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
        Some(folder) if name.starts_with(SAMPLES) && !folder.is_empty() => folder,
        _ => strip_extensions(&name).to_owned(),
    }
}

/// What a harness's files of samples begin with.
pub(super) const SAMPLES: &str = "samples_";

/// A file's name without the endings that say how it is written: dots before them belong to it.
fn strip_extensions(mut name: &str) -> &str {
    const ENDINGS: [&str; 7] = [
        ".zst", ".gz", ".jsonl", ".ndjson", ".json", ".csv", ".parquet",
    ];
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) {
        name = shorter;
    }
    name
}

/// The task of a harness's samples, `samples_TASK_TIME.jsonl`: its documents are numbered from 0, as
/// those of any other.
pub(super) fn task(path: &Path) -> Option<String> {
    let name = label(path);
    let task = strip_extensions(&name).strip_prefix(SAMPLES)?;
    let is_time = |end: &str| end.starts_with("20") && end.contains('T');
    let task = match task.rsplit_once('_') {
        Some((task, end)) if is_time(end) => task,
        _ => task,
    };
    Some(task.to_owned())
}

/// The texts of a row; none where it holds no text, or nothing that says to which prompt. `score` is
/// the column of the file's scores: the first row with a number says it.
pub(super) fn texts(
    object: &Map<String, Value>,
    columns: &Columns,
    (author, forced): (&str, Option<&str>),
    score: &mut Option<String>,
) -> Row {
    let mut shared = shared(object, columns);
    if shared.model.is_empty() {
        let body = &object
            .get("response")
            .map_or(&Value::Null, |response| &response["body"]);
        body["model"]
            .as_str()
            .unwrap_or(author)
            .clone_into(&mut shared.model);
    }
    if let Some(forced) = forced {
        forced.clone_into(&mut shared.model);
    }
    shared.has_id = !shared.prompt_id.is_empty();
    if !shared.has_id {
        if shared.prompt.is_empty() {
            return Row::default();
        }
        shared.prompt_id.clone_from(&shared.prompt_hash);
    }
    let found = responses(object, columns);
    let several = found.texts.len() > 1;
    let column = columns.score(object, found.list);
    if let (None, Some((name, true))) = (&score, &column) {
        *score = Some(name.clone());
    }
    let column = score.clone().or(column.map(|(name, _)| name));
    let scores = column.as_ref().and_then(|name| object.get(name));
    let class = columns.find(CLASS, object).map(|(_, value)| value);
    let partition = object.get("partition").filter(|list| list.is_array());
    let mut row = Row::default();
    for (at, response) in found.texts.into_iter().enumerate() {
        let Some(response) = response else {
            row.without += 1;
            continue;
        };
        // A list beside the list of texts has a value for each.
        let of = |value: Option<&Value>| match value {
            Some(Value::Array(items)) if found.list => items.get(at).cloned(),
            Some(Value::Array(_)) | None => None,
            value => value.cloned(),
        };
        let class = of(partition).or_else(|| of(class));
        let mut text = Text {
            response,
            class: class.as_ref().and_then(number).map(|class| class as i64),
            ..shared.clone()
        };
        if several {
            text.sample = None;
        }
        if let Some(score) = of(scores) {
            text.set_score(&score);
        }
        text.utility = of(object.get(UTILITIES)).as_ref().and_then(number);
        // A score a class is that of each of its texts.
        let classes = object.get(CLASS_SCORES).and_then(Value::as_array);
        if let (None, Some(classes), Some(class)) = (text.score, classes, text.class) {
            let score = usize::try_from(class)
                .ok()
                .and_then(|class| classes.get(class));
            if let Some(score) = score {
                text.set_score(score);
            }
        }
        for space in 0..2 {
            let given = of(columns.given(space, object));
            text.given[space] = given.as_ref().and_then(number);
        }
        row.texts.push(text);
    }
    row
}

/// What all texts of a row share.
fn shared(object: &Map<String, Value>, columns: &Columns) -> Text {
    let find = |role| columns.find(role, object).map(|(_, value)| value);
    let harness = object.get("arguments").and_then(|arguments| {
        let first = &arguments["gen_args_0"]["arg_0"];
        first.as_str().or(arguments[0][0].as_str())
    });
    let (prompt, prompt_hash) = match harness {
        Some(prompt) => (prompt.to_owned(), short_id(&[prompt])),
        None => prompt(object, columns).unwrap_or_default(),
    };
    let batch_id = object
        .get("custom_id")
        .filter(|_| choices(object).is_some());
    Text {
        model: find(MODEL).and_then(said).unwrap_or_default(),
        is_prompt_id: batch_id.is_none()
            && columns
                .find(PROMPT_ID, object)
                .is_some_and(|(name, _)| name == "prompt_id"),
        prompt_id: batch_id
            .or(find(PROMPT_ID))
            .and_then(said)
            .unwrap_or_default(),
        prompt,
        prompt_hash,
        sample: find(SAMPLE).and_then(number).map(|sample| sample as i64),
        ..Text::default()
    }
}

/// A row's prompt, and the id that it has by what it says.
fn prompt(object: &Map<String, Value>, columns: &Columns) -> Option<(String, String)> {
    let request = || {
        let messages = object.get("messages").filter(|_| choices(object).is_some());
        messages.map(|messages| ("messages", messages))
    };
    let (name, value) = columns.find(PROMPT, object).or_else(request)?;
    let prompt = said(value)?;
    // Alpaca's instructions are about an input.
    let input = object.get("input").and_then(Value::as_str);
    let input = input.filter(|input| !input.trim().is_empty());
    if let ("instruction", None, Some(input)) = (name, columns.named(PROMPT), input) {
        let both = format!("{prompt}\n\n{input}");
        let hash = short_id(&[&both]);
        return Some((both, hash));
    }
    let hash = hash(value).unwrap_or_else(|| short_id(&[&prompt]));
    Some((prompt, hash)).filter(|(prompt, _)| !prompt.is_empty())
}

impl Text {
    fn set_score(&mut self, score: &Value) {
        if score.is_null() || score.as_str() == Some("") {
            return;
        }
        self.score = number(score);
        self.score_is_no_number = self.score.is_none();
    }
}

/// What an API answered: a line of a batch's output, or an answer as it came.
fn choices(object: &Map<String, Value>) -> Option<&Vec<Value>> {
    if let Some(choices) = object
        .get("response")
        .and_then(|response| response["body"]["choices"].as_array())
    {
        return Some(choices);
    }
    let choices = object.get("choices")?.as_array()?;
    let first = choices.first()?;
    let is_answer = first["message"].is_object() || first.get("finish_reason").is_some();
    is_answer.then_some(choices)
}

/// The texts of a row, in their order.
fn responses(object: &Map<String, Value>, columns: &Columns) -> Found {
    let list = |texts| Found { texts, list: true };
    if let Some(choices) = choices(object) {
        let text = |choice: &Value| {
            content(&choice["message"]["content"]).or_else(|| content(&choice["text"]))
        };
        return list(choices.iter().map(text).collect());
    }
    let harness = object
        .get("resps")
        .filter(|_| object.contains_key("doc_id"));
    if let Some(resps) = harness {
        return list(quoted_list(resps));
    }
    if let Some((_, response)) = columns.find(RESPONSE, object) {
        if response.is_array() && !is_chat(response) {
            return list(quoted_list(response));
        }
        let text = said(response).or_else(|| text(response));
        return Found {
            texts: text.map(Some).into_iter().collect(),
            list: false,
        };
    }
    let mut lists = LISTS.iter().filter_map(|name| object.get(*name));
    let found = lists.find(|list| list.is_array());
    found
        .map(|texts| list(quoted_list(texts)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: &Value) -> Vec<Text> {
        let columns = Columns::default();
        texts(
            row.as_object().unwrap(),
            &columns,
            ("file", None),
            &mut None,
        )
        .texts
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
            "generation_scores": [2, 9], "partition_scores": [2, 9],
        }));
        let classes: Vec<_> = novelty
            .iter()
            .map(|text| (text.class, text.score, text.utility))
            .collect();
        let of = |class, score| (Some(class), Some(score), Some(score));
        assert_eq!(classes, [of(0, 2.0), of(1, 9.0)]);
        let again = read(&json!({
            "id": "x", "prompt": "p", "generations": ["a", "b"], "partition": [0, 0],
            "generation_scores": [9, 0], "partition_scores": [9],
        }));
        // What says the same is worth nothing more, and is as good.
        assert_eq!((again[1].score, again[1].utility), (Some(9.0), Some(0.0)));
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
        assert_eq!(chat[0].prompt_id.len(), short_id(&["p"]).len());
    }

    #[test]
    fn a_name_keeps_its_dots() {
        let of = |name: &str| author(Path::new(name));
        assert_eq!(of("out/llama-3.1-8b.jsonl.gz"), "llama-3.1-8b");
        assert_eq!(of("gpt-4.1.csv"), "gpt-4.1");
        assert_eq!(of("m/samples_a_b_2025-01-02T03-04-05.6.jsonl"), "m");
        let of = |name: &str| task(Path::new(name));
        assert_eq!(
            of("m/samples_a_b_2025-01-02T03-04-05.6.jsonl").as_deref(),
            Some("a_b")
        );
        assert_eq!(of("m/samples_a.jsonl").as_deref(), Some("a"));
        assert_eq!(of("m/a.jsonl"), None);
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
