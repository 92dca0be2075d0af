//! Tests of reading outputs and gold, from the command line to the report.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::report::write;
use super::reports::{model, report};
use super::support::{done, dump, run, text};

/// Rows of a model: three texts for each of four prompts.
fn rows(model: &str, prompt: impl Fn(usize) -> String) -> Vec<Value> {
    let texts = (0..12).map(|at| (at / 3, at % 3));
    let row = |(at, sample): (usize, usize)| {
        let words = format!("{model} tells {sample} of {at} ").repeat(4 + sample);
        json!({"model": model, "prompt_id": at, "prompt": prompt(at), "response": words})
    };
    texts.map(row).collect()
}

fn eval(arguments: &[&str], out: &Path) -> Value {
    done(&[&["eval"], arguments, &["--out", text(out)]].concat());
    report(out)
}

#[test]
fn duplicate_paths_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = folder.path().join("outputs");
    fs::create_dir(&outputs).unwrap();
    let file = write(&outputs, "a.jsonl", &rows("a", |at| format!("Prompt {at}")));
    write(&outputs, "a.jsonl.json", &[json!({"seed": 0})]);
    // The report lies in the folder of outputs, and is not read as outputs in the second run.
    let out = outputs.join("report");
    let arguments = [text(&outputs), text(&file), text(&file)];
    for _ in 0..2 {
        let report = eval(&arguments, &out);
        assert_eq!(model(&report, "a")["responses"], 12);
        assert_eq!(report["inputs"].as_array().unwrap().len(), 1);
    }
    let other = format!("other={}", text(&file));
    let output = run(&["eval", text(&file), &other, "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("is named twice"), "{error}");
}

#[test]
fn gold_is_read_from_stores_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let raw = folder.path().join("raw");
    dump(&raw, 9);
    done(&["ingest", text(&raw), "--store", text(&store)]);
    let prompts = done(&[
        "sql",
        "--store",
        text(&store),
        "--format",
        "ndjson",
        "-c",
        "SELECT prompt FROM prompts ORDER BY prompt LIMIT 4",
    ]);
    let prompts: Vec<Value> = prompts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let prompt = |at: usize| format!("\u{a0}{}\n", prompts[at]["prompt"].as_str().unwrap());
    let file = write(folder.path(), "m.jsonl", &rows("m", prompt));
    let out = folder.path().join("of_store");
    let of_store = eval(&[text(&file), "--gold", text(&store), "--k", "3"], &out);
    assert_eq!(model(&of_store, "gold")["prompts"], 4);
    let input = &of_store["inputs"][1];
    assert_eq!(
        (&input["file"], &input["rows"]),
        (&json!("store"), &json!(28))
    );
    assert_eq!(input["sha256"].as_str().unwrap().len(), 64);

    // Rows without text and texts to other prompts are counted in warnings.
    let mut people = rows("who", prompt);
    people.push(json!({"prompt": "another", "response": "x"}));
    people.push(json!({"x": 1}));
    let people = write(folder.path(), "people.jsonl", &people);
    let out = folder.path().join("of_file");
    let of_file = eval(&[text(&file), "--gold", text(&people)], &out);
    let warnings = of_file["warnings"].to_string();
    for warning in [
        "gold: 1 row skipped: no text or no prompt (people.jsonl:14).",
        "gold: 1 text skipped: no model has a text to the same prompt.",
    ] {
        assert!(warnings.contains(warning), "{warnings}");
    }
}
