//! Tests of `eval --verify` with a store, a reward model and an embedder that are folders.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::report::write;
use super::support::{done, run, text};
use super::{model, root};

/// Makes a report from the stories of a store, with models by path; returns the report's folder.
fn published(folder: &tempfile::TempDir) -> PathBuf {
    let at = |name: &str| folder.path().join(name);
    let (store, out) = (at("store"), at("report"));
    done(&[
        "ingest",
        text(&root().join("data")),
        "--store",
        text(&store),
    ]);
    let query = "SELECT prompt, text AS response FROM responses \
                 JOIN prompts ON prompts.prompt_id = responses.prompt_id ORDER BY response_id LIMIT 24";
    let rows = done(&[
        "sql",
        "--store",
        text(&store),
        "--format",
        "ndjson",
        "-c",
        query,
    ]);
    let rows = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let outputs = write(folder.path(), "copy.jsonl", &rows.collect::<Vec<_>>());
    let (embedder, judge) = (
        model("minilm_bert"),
        root().join("tests/fixtures/models/gemma2_reward/model"),
    );
    let models = ["--semantic", text(&embedder), "--reward", text(&judge)];
    let inputs = ["eval", text(&outputs), "--gold", text(&store)];
    done(&[&inputs[..], &models, &["--k", "2", "--out", text(&out)]].concat());
    out
}

#[test]
fn report_of_a_store_and_models_is_verified_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    published(&folder);
    // The report, its outputs and its store move together; the models stay.
    let moved = folder.path().join("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["copy.jsonl", "store", "report"] {
        fs::rename(folder.path().join(name), moved.join(name)).unwrap();
    }
    let path = moved.join("report/report.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(report["arguments"]["gold"], "../store");
    assert_eq!(
        report["arguments"]["outputs"],
        json!([{"model": null, "path": "../copy.jsonl"}])
    );
    // The models' paths are relative to the report as well, which lies one folder deeper now.
    for name in ["semantic", "reward"] {
        let before = report["arguments"][name].as_str().unwrap();
        report["arguments"][name] = json!(format!("../{before}"));
    }
    fs::write(&path, report.to_string()).unwrap();
    let printed = done(&["eval", "--verify", text(&path)]);
    assert!(printed.contains("values are equal"), "{printed}");

    // One byte of a part of the store.
    let parts = fs::read_dir(moved.join("store/responses")).unwrap();
    let part = parts.map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).unwrap();
    let output = run(&["eval", "--verify", text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let name = part.file_name().unwrap().to_str().unwrap();
    assert!(
        stdout.starts_with("changed ") && stdout.contains(name),
        "{stdout}"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("1 input changed or is missing"), "{stderr}");
}

#[test]
fn report_of_another_version_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = published(&folder).join("report.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    report["versions"]["polyphony"] = json!("0.0.1");
    // A value that the older version did not have.
    report.as_object_mut().unwrap().remove("prompts_shown");
    fs::write(&path, report.to_string()).unwrap();
    let output = run(&["eval", "--verify", text(&path)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("the report was made by polyphony 0.0.1, here "),
        "{stderr}"
    );
    assert!(
        stderr.contains("1 value is new in this version"),
        "{stderr}"
    );
    // A report that does not record its arguments.
    report.as_object_mut().unwrap().remove("arguments");
    fs::write(&path, report.to_string()).unwrap();
    let output = run(&["eval", "--verify", text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("was written by polyphony 0.0.1, and does not record its arguments"),
        "{stderr}"
    );
}
