//! Tests of outputs: every layout and format, and the warnings about rows and texts.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use polyphony_io::progress::NoProgress;
use serde_json::{Value, json};

use super::*;

fn write(folder: &Path, name: &str, rows: &[Value]) -> PathBuf {
    let path = folder.join(name);
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&path, lines).unwrap();
    path
}

fn without_model(path: &Path) -> OutputPath {
    OutputPath {
        model: None,
        path: path.to_path_buf(),
    }
}

fn outputs_with_columns(rows: &[Value], columns: &str) -> Outputs {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.jsonl", rows);
    let columns = Columns::parse(columns).unwrap();
    read(&[without_model(&path)], &columns, &NoProgress).unwrap()
}

fn of(rows: &[Value]) -> Outputs {
    outputs_with_columns(rows, "")
}

fn texts(outputs: &Outputs) -> Vec<&str> {
    let rows = outputs.rows.iter();
    rows.map(|row| row.response.as_str()).collect()
}

fn assert_warns(outputs: &Outputs, what: &str) {
    let warnings = outputs.warnings.join("\n");
    assert!(warnings.contains(what), "{warnings}");
}

#[test]
fn duplicate_paths_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let row = json!({"prompt_id": 1, "response": "x"});
    let path = write(folder.path(), "a.jsonl", &[row]);
    let through = folder.path().join(".").join("a.jsonl");
    let all = [
        without_model(&path),
        without_model(folder.path()),
        without_model(&through),
    ];
    let outputs = read(&all, &Columns::default(), &NoProgress).unwrap();
    assert_eq!((outputs.rows.len(), outputs.inputs.len()), (1, 1));
    let other = OutputPath {
        model: Some("n".to_owned()),
        path: path.clone(),
    };
    let result = read(
        &[without_model(&path), other],
        &Columns::default(),
        &NoProgress,
    );
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("with no name and with the name `n`"),
        "{error}"
    );
}

#[test]
fn manifests_and_reports_are_not_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "a.jsonl", &[json!({"prompt_id": 1, "response": "x"})]);
    write(at, "a.jsonl.json", &[json!({"seed": 1})]);
    fs::create_dir(at.join("report")).unwrap();
    write(&at.join("report"), "report.json", &[json!({"models": []})]);
    write(&at.join("report"), "b.jsonl", &[json!({"x": 1})]);
    let outputs = read(&[without_model(at)], &Columns::default(), &NoProgress).unwrap();
    assert_eq!(outputs.inputs.len(), 1);
    let result = read(
        &[without_model(&at.join("report"))],
        &Columns::default(),
        &NoProgress,
    );
    assert!(result.unwrap_err().to_string().contains("is a report"));
}

#[test]
fn harness_document_with_several_filters_is_read_once() {
    let row = |filter: &str, text: &str| {
        json!({"doc_id": 1, "arguments": [["p", {}]], "resps": [[text]],
            "filtered_resps": [filter], "filter": filter})
    };
    let outputs = of(&[row("strict", "x"), row("flexible", "x"), row("strict", "y")]);
    assert_eq!(texts(&outputs), ["x", "y"]);
    assert_warns(
        &outputs,
        "1 row skipped: the same texts through another filter of the harness (a.jsonl:2).",
    );
}

#[test]
fn equal_texts_are_not_dropped_but_counted() {
    let row = json!({"prompt": "p", "response": "x"});
    let outputs = of(&[row.clone(), row.clone(), row]);
    assert_eq!(texts(&outputs), ["x", "x", "x"]);
    assert_warns(
        &outputs,
        "2 texts are equal to another of the same model and prompt (a.jsonl:2, a.jsonl:3).",
    );
}

#[test]
fn list_items_without_text_keep_scores_and_classes_aligned() {
    let outputs = of(&[
        json!({"prompt": "p", "generations": [null, "b"], "generation_scores": [1, 2], "partition": [0, 5]}),
        json!({"prompt": "q", "generations": ["c"], "generation_scores": [3], "partition": [7]}),
    ]);
    let mut rows: Vec<_> = outputs.rows.iter().collect();
    rows.sort_by_key(|row| row.prompt.clone());
    let facts = |at: usize| (rows[at].response.as_str(), rows[at].utility, rows[at].class);
    assert_eq!(facts(0), ("b", Some(2.0), Some(5)));
    assert_eq!(facts(1), ("c", Some(3.0), Some(7)));
    assert_warns(
        &outputs,
        "1 item of lists of texts skipped: no text (a.jsonl:1).",
    );
    let choices = json!([{"message": {"content": null}}, {"message": {"content": "a"}}]);
    let answer = json!({"custom_id": "c", "response": {"body": {"choices": choices}}});
    let outputs = of(&[answer]);
    assert_eq!(texts(&outputs), ["a"]);
    assert_warns(
        &outputs,
        "1 item of lists of texts skipped: no text (a.jsonl:1).",
    );
}

#[test]
fn scores_of_a_file_come_from_one_column() {
    let outputs = of(&[
        json!({"prompt": "p", "response": "a", "score": null, "reward": 1}),
        json!({"prompt": "p", "response": "b", "score": 2, "reward": 3}),
        json!({"prompt": "p", "response": "c", "score": 4}),
    ]);
    let scores: Vec<_> = outputs.rows.iter().map(|row| row.score).collect();
    assert_eq!(scores, [Some(1.0), Some(3.0), None]);
    assert_eq!(outputs.inputs[0].score.as_deref(), Some("reward"));
}

#[test]
fn alpaca_instruction_and_input_are_joined_to_a_prompt() {
    let row = |input: &str| json!({"instruction": "do", "input": input, "output": "x"});
    let outputs = of(&[row("this"), row("")]);
    let mut prompts: Vec<_> = outputs.rows.iter().map(|row| row.prompt.as_str()).collect();
    prompts.sort_unstable();
    assert_eq!(prompts, ["do", "do\n\nthis"]);
}

#[test]
fn unique_row_ids_are_not_used_as_prompt_ids() {
    let row = |id: u8, prompt: &str| json!({"id": id, "prompt": prompt, "response": id});
    let rows = [row(1, "p"), row(2, "p"), row(3, "q")];
    let outputs = of(&rows);
    let samples: i64 = outputs.rows.iter().map(|row| row.sample).sum();
    assert_eq!(samples, 1);
    assert_warns(&outputs, "every row has an id of its own");
    let outputs = outputs_with_columns(&rows, "prompt_id=id");
    assert!(outputs.warnings.is_empty());
    assert!(of(&rows[1..]).warnings.is_empty());
}

#[test]
fn chats_with_the_same_last_message_have_different_ids() {
    let row = |first: &str| {
        json!({"response": "x", "prompt": [
            {"role": "system", "content": first}, {"role": "user", "content": "go"}]})
    };
    let outputs = of(&[row("one"), row("two")]);
    assert_ne!(outputs.rows[0].prompt_id, outputs.rows[1].prompt_id);
    assert_eq!(outputs.rows[0].prompt, "go");
}

#[test]
fn api_responses_are_read() {
    let outputs = of(&[
        json!({"prompt": "p", "outputs": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]}),
        json!({"id": "chatcmpl-1", "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": [
                {"type": "text", "text": "c"}, {"type": "text", "text": "d"}]}}]}),
    ]);
    assert_eq!(texts(&outputs), ["a", "b", "cd"]);
    assert_eq!(outputs.rows[2].model, "m");
}

#[test]
fn json_file_with_one_array_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let rows = json!([{"prompt": "p", "response": "a"}, {"prompt": "q", "response": "b"}, 3]);
    let documents = [
        serde_json::to_string_pretty(&rows).unwrap(),
        json!({"version": 1, "data": rows.as_array().unwrap()[..2]}).to_string(),
        format!("{}\n{}\n", rows[0], rows[1]),
        serde_json::to_string_pretty(&json!({"prompt": "p", "generations": ["a", "b"]})).unwrap(),
    ];
    for document in documents {
        let path = folder.path().join("a.json");
        fs::write(&path, &document).unwrap();
        let outputs = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap();
        let mut texts = texts(&outputs);
        texts.sort_unstable();
        assert_eq!(texts, ["a", "b"], "{document}");
    }
    let path = folder.path().join("cut.json");
    fs::write(&path, "[\n{\"prompt\": \"p\",").unwrap();
    let error = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap_err();
    assert!(error.to_string().contains("is not a JSON array"), "{error}");
}

#[test]
fn deviation_columns_of_the_paper_are_read() {
    let row = json!({"prompt": "p", "response": "x", "data_semantic_diversity": 0.5,
        "data_style_diversity": "0.25", "gold_reddit_reward": 3, "gold_vote": 9});
    let outputs = of(&[row]);
    assert_eq!(outputs.rows[0].given.both(), [&Some(0.5), &Some(0.25)]);
    assert_eq!(
        (outputs.rows[0].score, &outputs.inputs[0].score),
        (None, &None)
    );
}

#[test]
fn folder_of_lm_evaluation_harness_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let row = |text: &str| json!({"doc_id": 0, "arguments": [[text, {}]], "resps": [[text]]});
    for model in ["m-1.5", "n"] {
        let at = folder.path().join(model);
        fs::create_dir(&at).unwrap();
        let time = "2025-01-02T03-04-05.6";
        write(&at, &format!("samples_a_{time}.jsonl"), &[row("x")]);
        write(&at, &format!("samples_b_c_{time}.jsonl"), &[row("y")]);
        write(
            &at,
            &format!("results_{time}.json"),
            &[json!({"results": {}})],
        );
    }
    let outputs = read(
        &[without_model(folder.path())],
        &Columns::default(),
        &NoProgress,
    )
    .unwrap();
    let rows: Vec<_> = outputs
        .rows
        .iter()
        .map(|row| (row.model.as_str(), row.prompt_id.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            ("m-1.5", "a/0"),
            ("m-1.5", "b_c/0"),
            ("n", "a/0"),
            ("n", "b_c/0")
        ]
    );
}

#[test]
fn noveltybench_folder_with_all_stages_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let row = json!({"id": "x", "prompt": "p", "generations": ["a", "b"], "partition": [0, 1]});
    for name in ["generations.jsonl", "partitions.jsonl", "scores.jsonl"] {
        write(folder.path(), name, std::slice::from_ref(&row));
    }
    write(
        folder.path(),
        "summary.json",
        &[json!({"mean_distinct": 2})],
    );
    let outputs = read(
        &[without_model(folder.path())],
        &Columns::default(),
        &NoProgress,
    )
    .unwrap();
    assert_eq!((outputs.rows.len(), outputs.inputs.len()), (2, 1));
}

#[test]
fn prompts_match_by_id_or_by_text() {
    let folder = tempfile::tempdir().unwrap();
    let with = |id: u8, text: &str| json!({"prompt_id": id, "prompt": text, "response": "x"});
    let without = |text: &str| json!({"prompt": text, "response": "y"});
    let one = write(
        folder.path(),
        "one.jsonl",
        &[with(1, "p"), with(2, "q"), with(3, "q")],
    );
    let other = write(folder.path(), "other.jsonl", &[without(" p"), without("q")]);
    let outputs = read(
        &[without_model(&one), without_model(&other)],
        &Columns::default(),
        &NoProgress,
    )
    .unwrap();
    let of = |text: &str| {
        let mut rows = outputs.rows.iter();
        let row = rows.find(|row| row.model == "other" && row.prompt.trim() == text);
        row.unwrap().prompt_id.as_str()
    };
    assert_eq!(of("p"), "1");
    // Two ids have this prompt text, so the row without an id is not matched: its id is a hash of the text.
    assert!(of("q").len() > 1);
}

#[test]
fn two_files_with_the_same_model_and_prompt_text_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let with = json!({"model": "m", "prompt_id": 1, "prompt": "p", "response": "x"});
    let without = json!({"model": "m", "prompt": "p", "response": "y"});
    let one = write(folder.path(), "one.jsonl", &[with]);
    let other = write(folder.path(), "other.jsonl", &[without]);
    let error = read(
        &[without_model(&one), without_model(&other)],
        &Columns::default(),
        &NoProgress,
    )
    .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("has texts of `m` to prompt 1, and so has"),
        "{error}"
    );
}

#[test]
fn prompt_ids_with_the_same_text_are_not_merged() {
    let row = |id: u8| json!({"prompt_id": id, "prompt": "p", "response": id});
    let outputs = of(&[row(1), row(2)]);
    let ids: Vec<_> = outputs
        .rows
        .iter()
        .map(|row| row.prompt_id.as_str())
        .collect();
    assert_eq!(ids, ["1", "2"]);
}

#[test]
fn texts_are_ordered_by_sample_number_but_not_by_seed() {
    let row = |sample: u8, text: &str| json!({"prompt": "p", "sample": sample, "response": text});
    let outputs = of(&[row(2, "c"), row(0, "a"), row(1, "b")]);
    assert_eq!(texts(&outputs), ["a", "b", "c"]);
    let row = json!({"prompt": "p", "seed": 42, "response": "x"});
    assert_eq!(texts(&of(&[row.clone(), row])), ["x", "x"]);
}

#[test]
fn nan_is_a_missing_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let rows = r#"{"prompt": "p", "response": "x", "score": NaN}"#;
    fs::write(&path, rows).unwrap();
    let outputs = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap();
    assert_eq!((outputs.rows.len(), outputs.rows[0].score), (1, None));
    assert_warns(&outputs, "1 score ignored: not a number");
    // NaN is also missing as an id, prompt or text: the next usual column is used.
    let rows_of_ids =
        r#"{"prompt_id": NaN, "question_id": 7, "response": NaN, "output": "a story"}"#;
    fs::write(&path, rows_of_ids).unwrap();
    let outputs = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap();
    assert_eq!(texts(&outputs), ["a story"]);
    assert_eq!(outputs.rows[0].prompt_id, "7");
    let path = folder.path().join("b.json");
    fs::write(&path, format!("[{rows}]")).unwrap();
    let outputs = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap();
    assert_warns(&outputs, "1 score ignored: not a number");
}

#[test]
fn named_column_may_be_missing_from_some_rows() {
    let rows = [
        json!({"prompt": "p", "response": "x"}),
        json!({"prompt": "q", "response": "y", "mark": 2}),
    ];
    assert_eq!(
        outputs_with_columns(&rows, "score=mark").rows[1].score,
        Some(2.0)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.jsonl", &rows);
    let columns = Columns::parse("score=grade").unwrap();
    let error = read(&[without_model(&path)], &columns, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("grade"), "{error}");
}

#[test]
fn rewards_of_two_models_in_a_file_are_an_error() {
    let row =
        |judge: &str| json!({"prompt": "p", "response": judge, "score": 1, "reward_model": judge});
    assert_eq!(
        of(&[row("a"), row("a")]).inputs[0].reward_model.as_deref(),
        Some("a")
    );
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.jsonl", &[row("a"), row("b")]);
    let error = read(&[without_model(&path)], &Columns::default(), &NoProgress).unwrap_err();
    assert!(error.to_string().contains("in row 2, of `b`"), "{error}");
}

/// The same rows as Parquet (flat and with lists), CSV (both layouts of the paper's code), and compressed
/// JSON lines.
#[test]
fn all_file_formats_give_the_same_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let column = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let parquet = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs::File::create(at(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let scores: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)]));
    parquet(
        "flat.parquet",
        vec![
            ("prompt", column(&["p", "p", "q"])),
            ("response", column(&["a \u{96ea}", "b", "c"])),
            ("score", scores),
        ],
    );
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("a \u{96ea}"), Some("b")]);
    lists.append_value([Some("c")]);
    parquet(
        "lists.parquet",
        vec![
            ("prompt", column(&["p", "q"])),
            ("generations", Arc::new(lists.finish())),
        ],
    );
    // The two layouts of the paper's code: with plain columns, and with rewards and deviations next to the texts.
    fs::write(at("one.csv"), "prompt,response\np,a \u{96ea}\np,b\nq,c\n").unwrap();
    fs::write(
        at("other.csv"),
        "prompt_id,prompt,response,reddit_reward,semantic_diversity,style_diversity\n\
         0,p,a \u{96ea},1.5,0.25,0.5\n0,p,b,,0.25,0.5\n1,q,c,,,\n",
    )
    .unwrap();
    let lines = "{\"prompt\":\"p\",\"response\":\"a \u{96ea}\"}\n\
        {\"prompt\":\"p\",\"response\":\"b\"}\n{\"prompt\":\"q\",\"response\":\"c\"}\n";
    let packed = fs::File::create(at("packed.jsonl.gz")).unwrap();
    let mut packed = GzEncoder::new(packed, Compression::fast());
    packed.write_all(lines.as_bytes()).unwrap();
    packed.finish().unwrap();
    fs::write(
        at("packed.jsonl.zst"),
        zstd::encode_all(lines.as_bytes(), 1).unwrap(),
    )
    .unwrap();

    for name in [
        "flat.parquet",
        "lists.parquet",
        "one.csv",
        "other.csv",
        "packed.jsonl.gz",
        "packed.jsonl.zst",
    ] {
        let outputs = read(
            &[without_model(&at(name))],
            &Columns::default(),
            &NoProgress,
        )
        .unwrap();
        assert_eq!(texts(&outputs), ["a \u{96ea}", "b", "c"], "{name}");
        let prompts: Vec<&str> = outputs.rows.iter().map(|row| row.prompt.as_str()).collect();
        assert_eq!(prompts, ["p", "p", "q"], "{name}");
        let scores: Vec<Option<f64>> = outputs.rows.iter().map(|row| row.score).collect();
        let has_scores = ["flat.parquet", "other.csv"].contains(&name);
        assert_eq!(scores, [has_scores.then_some(1.5), None, None], "{name}");
        if name == "flat.parquet" {
            assert_warns(&outputs, "1 score ignored: not a number");
        }
        if name == "other.csv" {
            assert_eq!(outputs.inputs[0].score.as_deref(), Some("reddit_reward"));
        }
    }
}
