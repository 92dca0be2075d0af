//! Layouts of output files, one file per layout: how to extract the texts of a row, by the tool that wrote it.

mod generations;
pub(super) mod lm_eval_harness;
pub(super) mod noveltybench;
mod openai_batch;
mod rows;

use std::path::Path;

use serde_json::{Map, Value};

use super::adapter_scale::{self, AdapterScale};
use super::columns::{Columns, Role};
use super::json_value::{as_text, number};
use crate::space::PerSpace;

/// One text of a row, with the values that belong to it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a row"
)]
pub(super) struct Text {
    pub(super) model: String,
    pub(super) prompt_id: String,
    /// Whether the row has an id of its prompt or of itself.
    pub(super) has_id: bool,
    /// Whether the id comes from the column `prompt_id`; other columns may be ids of rows.
    pub(super) is_prompt_id: bool,
    pub(super) prompt: String,
    /// The id that is a hash of the prompt; empty if the row has no prompt.
    pub(super) prompt_hash: String,
    pub(super) response: String,
    pub(super) sample: Option<i64>,
    /// The seed in the row: of a training run, or of a sample.
    pub(super) seed: Option<String>,
    pub(super) score: Option<f64>,
    pub(super) score_is_no_number: bool,
    /// Whether generation stopped at the limit of new tokens (`finish_reason` is `length`).
    pub(super) is_truncated: bool,
    /// The utility for a reader, 1 to 10, if the row has one (`NoveltyBench`).
    pub(super) utility: Option<f64>,
    pub(super) class: Option<i64>,
    /// The deviation in the row, by space.
    pub(super) given: PerSpace<Option<f64>>,
    /// The scale of the adapter, if the row has one.
    pub(super) adapter_scale: Option<AdapterScale>,
    /// The name of the model without a scale, if the layout has added it to the name.
    pub(super) name_without_scale: Option<String>,
}

/// The texts of a row, after parsing.
#[derive(Debug, Default)]
pub(super) struct ParsedRow {
    pub(super) texts: Vec<Text>,
    /// The number of list items without text.
    pub(super) missing: u64,
}

/// The result of a layout: the texts of a row.
#[derive(Default)]
struct Found {
    /// The text of each item; `None` for an item without text.
    texts: Vec<Option<String>>,
    /// Whether the row has a list of texts, so that its scores and classes are lists, too.
    is_list: bool,
}

impl Found {
    const fn list(texts: Vec<Option<String>>) -> Self {
        Self {
            texts,
            is_list: true,
        }
    }
}

/// The name of a file without its folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The model name for rows without one: the file name without extensions; for `samples_*` files of
/// lm-evaluation-harness the name of the folder.
pub(super) fn model_from_path(path: &Path) -> String {
    let name = file_name(path);
    let folder = path.parent().map(file_name);
    match folder {
        Some(folder) if name.starts_with(lm_eval_harness::SAMPLES) && !folder.is_empty() => folder,
        _ => strip_extensions(&name).to_owned(),
    }
}

/// A file name without the extensions of format and compression; other dots remain (`m-1.5`).
fn strip_extensions(mut name: &str) -> &str {
    const EXTENSIONS: [&str; 8] = [
        ".zst", ".gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet",
    ];
    while let Some(shorter) = EXTENSIONS.iter().find_map(|end| name.strip_suffix(end)) {
        name = shorter;
    }
    name
}

/// The texts of a row; empty if it has no text, or neither a prompt nor an id. `score` is the file's column of
/// scores, which the first row with a number determines.
pub(super) fn parse(
    row: &Map<String, Value>,
    columns: &Columns,
    (file_model, forced_model): (&str, Option<&str>),
    score: &mut Option<String>,
) -> ParsedRow {
    let mut shared = shared(row, columns);
    if shared.model.is_empty() {
        openai_batch::model(row)
            .unwrap_or(file_model)
            .clone_into(&mut shared.model);
    }
    let own_name = shared.model.clone();
    if let Some(model) = forced_model {
        model.clone_into(&mut shared.model);
    }
    if let Some(scale) = row.get(adapter_scale::COLUMN).and_then(number) {
        let adapter = adapter_scale::without_scale(&own_name, scale).to_owned();
        shared.adapter_scale = Some(AdapterScale { adapter, scale });
        if adapter_scale::without_scale(&shared.model, scale) == shared.model {
            let with_scale = adapter_scale::at_scale(&shared.model, scale);
            shared.name_without_scale = Some(std::mem::replace(&mut shared.model, with_scale));
        }
    }
    shared.has_id = !shared.prompt_id.is_empty();
    if !shared.has_id {
        if shared.prompt.is_empty() {
            return ParsedRow::default();
        }
        shared.prompt_id.clone_from(&shared.prompt_hash);
    }
    let layout = openai_batch::parse(row)
        .or_else(|| lm_eval_harness::parse(row))
        .or_else(|| rows::parse(row, columns))
        .or_else(|| generations::parse(row))
        .unwrap_or_default();
    if layout.texts.len() > 1 {
        shared.sample = None;
    }
    let column = columns.score(row, layout.is_list);
    if let (None, Some((name, true))) = (&score, &column) {
        *score = Some(name.clone());
    }
    let column = score.clone().or(column.map(|(name, _)| name));
    let scores = column.as_ref().and_then(|name| row.get(name));
    let class = columns.find(Role::Class, row).map(|(_, value)| value);
    let mut parsed = ParsedRow::default();
    for (at, response) in layout.texts.into_iter().enumerate() {
        let Some(response) = response else {
            parsed.missing += 1;
            continue;
        };
        // A list next to a list of texts has one value per text.
        let item = |value: Option<&Value>| match value {
            Some(Value::Array(items)) if layout.is_list => items.get(at).cloned(),
            Some(Value::Array(_)) | None => None,
            value => value.cloned(),
        };
        let class = item(noveltybench::classes(row)).or_else(|| item(class));
        let mut text = Text {
            response,
            class: noveltybench::class(class.as_ref()),
            utility: item(noveltybench::utilities(row)).as_ref().and_then(number),
            given: PerSpace::from_fn(|space| {
                let value = item(columns.given(space, row));
                value.as_ref().and_then(number)
            }),
            ..shared.clone()
        };
        if let Some(score) = item(scores) {
            text.set_score(&score);
        }
        if text.score.is_none()
            && let Some(score) = noveltybench::class_score(row, text.class)
        {
            text.set_score(score);
        }
        parsed.texts.push(text);
    }
    parsed
}

/// The values that all texts of a row share.
fn shared(row: &Map<String, Value>, columns: &Columns) -> Text {
    let find = |role| columns.find(role, row).map(|(_, value)| value);
    let prompt = lm_eval_harness::prompt(row).or_else(|| rows::prompt(row, columns));
    let (prompt, prompt_hash) = prompt.unwrap_or_default();
    let request_id = openai_batch::request_id(row);
    let id_column = columns.find(Role::PromptId, row);
    let finish_reason = row.get("finish_reason").or_else(|| row.get("finish"));
    Text {
        model: find(Role::Model).and_then(as_text).unwrap_or_default(),
        is_prompt_id: request_id.is_none()
            && id_column.is_some_and(|(name, _)| name == "prompt_id"),
        prompt_id: request_id
            .or(find(Role::PromptId))
            .and_then(as_text)
            .unwrap_or_default(),
        prompt,
        prompt_hash,
        sample: find(Role::Sample)
            .and_then(number)
            .map(|sample| sample as i64),
        seed: find(Role::Seed).and_then(as_text),
        is_truncated: finish_reason.is_some_and(|reason| reason == "length"),
        ..Text::default()
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use polyphony_io::hash::short_id;

    use super::lm_eval_harness::task;
    use super::*;

    fn read(row: &Value) -> Vec<Text> {
        let columns = Columns::default();
        parse(
            row.as_object().unwrap(),
            &columns,
            ("file", None),
            &mut None,
        )
        .texts
    }

    #[test]
    fn every_layout_is_parsed() {
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
        // A later text of the same class has utility 0, and the same class score.
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
    fn model_and_task_names_come_from_paths() {
        let of = |name: &str| model_from_path(Path::new(name));
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
    fn rows_without_text_or_prompt_give_none() {
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
