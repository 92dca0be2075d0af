//! Tests of batch files: requests and responses of an OpenAI-compatible API.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::*;
use crate::chat::Message;
use crate::generate::config::PromptFormat;
use crate::generate::prompting::Prompting;
use crate::generate::row::{OutputRow, UnparsedRow};
use crate::generate::sampling::SamplingParams;
use crate::generate::verbalized::VerbalizedOptions;
use polyphony_io::progress::NoProgress;

fn prompts() -> Vec<Prompt> {
    let prompt = |id: &str, text: &str| Prompt {
        id: id.to_owned(),
        messages: vec![Message {
            role: "user".to_owned(),
            content: text.to_owned(),
        }],
        text: text.to_owned(),
    };
    vec![prompt("b", "A king melts."), prompt("a", "A sea sings.")]
}

fn config(samples: usize, answers: Option<usize>) -> GenerationConfig {
    GenerationConfig {
        name: "gpt".to_owned(),
        prompt_format: PromptFormat::Chat {
            system: Some("Be brief.".to_owned()),
        },
        prompting: answers.map_or(Prompting::Direct, |answers| {
            Prompting::Verbalized(VerbalizedOptions {
                answers,
                max_probability: None,
            })
        }),
        samples_per_prompt: samples,
        max_new_tokens: 100,
        sampling: SamplingParams::PAPER,
        seed: 42,
        batch_size: 1,
        adapter_scale: None,
        adapter_provenance: None,
    }
}

fn rows<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

/// The requests of these options.
fn requests(config: &GenerationConfig, options: &RequestOptions) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.jsonl");
    let count = write_requests(&file, "gpt-x", &prompts(), config, options).unwrap();
    let requests = rows(&file);
    assert_eq!(requests.len(), count);
    requests
}

/// Writes responses, reads them, and returns the counts and the folder with `out.jsonl`.
fn read(
    responses: &[Value],
    config: &GenerationConfig,
    single_choice: bool,
) -> Result<(ResponseCounts, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("responses.jsonl");
    let lines: Vec<String> = responses.iter().map(Value::to_string).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let out = folder.path().join("out.jsonl");
    let counts = read_responses(
        &[file],
        &prompts(),
        config,
        single_choice,
        &out,
        &NoProgress,
    )?;
    Ok((counts, folder))
}

fn response(id: &str, texts: &[&str]) -> Value {
    let choices = texts.iter().enumerate().map(|(index, text)| {
        json!({"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"})
    });
    json!({"id": "x", "custom_id": id, "error": null, "response": {"status_code": 200, "body": {
        "model": "gpt-x", "choices": choices.collect::<Vec<_>>(), "usage": {"completion_tokens": 9}}}})
}

#[test]
fn one_request_a_prompt_has_all_samples() {
    let requests = requests(&config(3, None), &RequestOptions::default());
    assert_eq!(
        requests[0],
        json!({"custom_id": "b", "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "gpt-x", "n": 3, "max_tokens": 100, "temperature": 1.0, "top_p": 0.95, "seed": 42,
            "messages": [{"role": "system", "content": "Be brief."},
                         {"role": "user", "content": "A king melts."}]}})
    );
    assert_eq!(requests[1]["custom_id"], "a");
}

#[test]
fn single_choice_requests_have_ids_and_seeds_of_their_own() {
    let options = RequestOptions {
        single_choice: true,
        fields: Map::from_iter([
            ("max_tokens".to_owned(), Value::Null),
            ("max_completion_tokens".to_owned(), json!(7)),
        ]),
    };
    let requests = requests(&config(2, None), &options);
    let of = |field: &str| -> Vec<Value> {
        let values = requests
            .iter()
            .map(|request| request["body"][field].clone());
        values.collect()
    };
    let ids: Vec<&str> = requests
        .iter()
        .filter_map(|request| request["custom_id"].as_str())
        .collect();
    assert_eq!(ids, ["b#0", "b#1", "a#0", "a#1"]);
    assert_eq!(of("seed"), [42, 43, 42, 43]);
    assert!(of("n").iter().chain(&of("max_tokens")).all(Value::is_null));
    assert_eq!(of("max_completion_tokens"), [7, 7, 7, 7]);
}

#[test]
fn verbalized_requests_ask_for_several_answers_with_as_many_tokens() {
    let requests = requests(&config(6, Some(3)), &RequestOptions::default());
    let body = &requests[0]["body"];
    assert_eq!((&body["n"], &body["max_tokens"]), (&json!(2), &json!(300)));
    let content = body["messages"][1]["content"].as_str().unwrap();
    assert!(content.starts_with("Write 3 different answers") && content.ends_with("A king melts."));
    let plain = GenerationConfig {
        prompt_format: PromptFormat::Plain,
        ..config(1, None)
    };
    let requests = self::requests(&plain, &RequestOptions::default());
    assert_eq!(requests[0]["url"], "/v1/completions");
    assert_eq!(requests[0]["body"]["prompt"], "A king melts.");
    let error = config(4, Some(3)).completions_per_prompt().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("must divide --samples 4 (got 3)"),
        "{error}"
    );
}

#[test]
fn a_file_with_other_requests_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.jsonl");
    let write = |samples: usize| {
        let options = RequestOptions::default();
        write_requests(&file, "gpt-x", &prompts(), &config(samples, None), &options)
    };
    write(2).unwrap();
    write(2).unwrap();
    let error = write(3).unwrap_err().to_string();
    assert!(error.contains("exists and has other content"), "{error}");
}

#[test]
fn responses_become_rows_in_the_order_of_the_prompts() {
    let responses = [response("a", &["c", "d"]), response("b", &["a", "b"])];
    let (counts, folder) = read(&responses, &config(2, None), false).unwrap();
    assert_eq!((counts.requested, counts.completions), (4, 4));
    assert!(counts.unparsed.is_empty() && !folder.path().join("out.jsonl.unparsed").exists());
    let rows: Vec<OutputRow> = rows(&folder.path().join("out.jsonl"));
    let of: Vec<_> = rows
        .iter()
        .map(|row| (row.prompt_id.as_str(), row.sample, row.response.as_str()))
        .collect();
    assert_eq!(
        of,
        [("b", 0, "a"), ("b", 1, "b"), ("a", 0, "c"), ("a", 1, "d")]
    );
    assert_eq!(
        (rows[0].tokens, rows[0].prompt.as_str()),
        (None, "A king melts.")
    );
    let single = [response("b#1", &["b"]), response("a#0", &["c"])];
    let (counts, folder) = read(&single, &config(2, None), true).unwrap();
    assert_eq!((counts.requested, counts.completions), (4, 2));
    let rows: Vec<OutputRow> = self::rows(&folder.path().join("out.jsonl"));
    assert_eq!((rows[0].sample, rows[0].tokens), (1, Some(9)));
}

#[test]
fn responses_without_a_text_are_counted_and_kept() {
    let failed = json!({"custom_id": "a", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}});
    let refusal = json!({"custom_id": "b", "response": {"body": {"choices": [
        {"index": 1, "message": {"content": null, "refusal": "no"}}]}}});
    let responses = [
        response("b", &["a", "b", "extra"]),
        response("b", &["again"]),
        response("z", &["other"]),
        failed,
        refusal,
        json!({"id": "x"}),
    ];
    let (counts, folder) = read(&responses, &config(2, None), false).unwrap();
    let unparsed: Vec<_> = counts.unparsed.into_iter().collect();
    assert_eq!(
        unparsed,
        [
            ("duplicate", 2),
            ("error", 1),
            ("not_a_response", 1),
            ("too_many", 1),
            ("unknown_custom_id", 1)
        ]
    );
    let kept: Vec<UnparsedRow> = rows(&folder.path().join("out.jsonl.unparsed"));
    assert_eq!(kept.len(), 6);
    assert!(
        kept.iter()
            .any(|row| row.reason == "error" && row.text.contains("400"))
    );
    let none = read(&responses[2..], &config(2, None), false).unwrap_err();
    assert!(
        none.to_string().contains("has no text to any request"),
        "{none}"
    );
}

#[test]
fn an_output_is_replaced_by_the_same_options_only() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (first, retry, out) = (at("first.jsonl"), at("retry.jsonl"), at("out.jsonl"));
    fs::write(&first, response("b", &["a"]).to_string()).unwrap();
    fs::write(&retry, response("a", &["c"]).to_string()).unwrap();
    let read = |files: &[PathBuf], config: &GenerationConfig| {
        read_responses(files, &prompts(), config, false, &out, &NoProgress)
    };
    read(std::slice::from_ref(&first), &config(1, None)).unwrap();
    let counts = read(&[first.clone(), retry], &config(1, None)).unwrap();
    assert_eq!((counts.requested, counts.completions), (2, 2));
    assert_eq!(rows::<OutputRow>(&out).len(), 2);
    let error = read(std::slice::from_ref(&first), &config(2, None)).unwrap_err();
    assert!(
        error.to_string().contains("was written with other options"),
        "{error}"
    );
    fs::remove_file(at("out.jsonl.json")).unwrap();
    assert!(read(&[first], &config(1, None)).is_err());
    assert_eq!(rows::<OutputRow>(&out).len(), 2);
}

#[test]
fn verbalized_responses_are_split() {
    let answers =
        "<response><text>a</text><probability>0.5</probability></response><response><text>b</text>";
    let responses = [response("b", &[answers]), response("a", &["no format"])];
    let (counts, folder) = read(&responses, &config(2, Some(2)), false).unwrap();
    let answers = counts.answers.unwrap();
    assert_eq!((answers.answers, answers.missing), (2, 2));
    let rows: Vec<OutputRow> = rows(&folder.path().join("out.jsonl"));
    assert_eq!((rows[0].probability, rows[1].sample), (Some(0.5), 1));
    let kept: Vec<UnparsedRow> = self::rows(&folder.path().join("out.jsonl.unparsed"));
    assert_eq!(
        (kept[0].prompt_id.as_str(), kept[0].text.as_str()),
        ("a", "no format")
    );
    let none = read(&responses[1..], &config(2, Some(2)), false).unwrap_err();
    assert!(
        none.to_string().contains("has an answer that can be read"),
        "{none}"
    );
}
