//! Tests of `train --watch`: measures of sampled texts, the best adapter, collapse; training itself is unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polyphony_trainer::tiny_llama::TinyLlama;
use serde_json::{Value, json};

use super::report::write;
use super::support::{bytes, done, kill_until_done, run, text};
use super::train::lines_with;
use super::{model, root};

/// Writes a small model and SFT rows of two training prompts and two held-out ones; returns both paths.
fn setup(folder: &Path, completion: &str) -> (PathBuf, PathBuf) {
    let model = folder.join("tiny");
    TinyLlama {
        hidden_size: 32,
        num_layers: 2,
        num_heads: 2,
        seed: 3,
    }
    .write(&model)
    .unwrap();
    let row = |prompt: &str, split: &str| json!({"prompt": prompt, "completion": completion, "split": split});
    let rows = [
        row("A door.", "train"),
        row("A key.", "train"),
        row("A lock.", "validation"),
        row("A lock.", "validation"),
        row("A lamp.", "validation"),
    ];
    let data = write(folder, "rows.jsonl", &rows);
    (model, data)
}

/// The arguments of an SFT run.
fn command(folder: &Path, data: &Path, out: &str, more: &[&str]) -> Vec<String> {
    let (model, out) = (folder.join("tiny"), folder.join(out));
    let start = [
        "train",
        "sft",
        "--model",
        text(&model),
        "--data",
        text(data),
        "--out",
        text(&out),
    ];
    let shape = [
        "--lora-r",
        "8",
        "--target-modules",
        "all-linear",
        "--batch-size",
        "2",
        "--warmup-steps",
        "0",
    ];
    let words = start.iter().chain(&shape).chain(more);
    words.map(|word| (*word).to_owned()).collect()
}

fn finished(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    done(&words)
}

const WATCH: [&str; 8] = [
    "--watch",
    "2",
    "--watch-prompts",
    "3",
    "--watch-samples",
    "3",
    "--watch-max-tokens",
    "40",
];

#[test]
fn sampled_texts_are_measured_and_training_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (_, data) = setup(
        folder.path(),
        "It opens at night, and nobody knows for whom.",
    );
    let steps = ["--max-steps", "3", "--learning-rate", "1e-3"];
    finished(&command(folder.path(), &data, "plain", &steps));
    let judge = root().join("tests/fixtures/models/gemma2_reward/model");
    let reward = ["--watch-reward", text(&judge)];
    finished(&command(
        folder.path(),
        &data,
        "watched",
        &[&steps[..], &WATCH, &reward].concat(),
    ));
    let (plain, watched) = (folder.path().join("plain"), folder.path().join("watched"));
    let adapter = |out: &Path| fs::read(out.join("adapter_model.safetensors")).unwrap();
    assert_eq!(adapter(&plain), adapter(&watched));

    let lines = lines_with(&watched, "watch_semantic");
    let steps: Vec<u64> = lines
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [0, 2, 3]);
    // The measures are those of SQL and of reports, over the texts that are there to read.
    for line in &lines {
        let file = watched.join(format!(
            "watch/step-{:08}.jsonl",
            line["step"].as_u64().unwrap()
        ));
        assert_eq!(
            fs::read_to_string(&file).unwrap().lines().count(),
            6,
            "two prompts, three texts"
        );
        let query = format!(
            "SELECT avg(ratio) AS watch_compression_ratio, avg(pairs) AS watch_distinct_2, avg(semantic) AS \
             watch_semantic, avg(style) AS watch_style, avg(loops) AS watch_looping, avg(reward) AS watch_reward \
             FROM (SELECT compression_ratio(response) AS ratio, distinct_n(response, 2) AS pairs, \
             mean_distance(embed(response, 'builtin:words')) AS semantic, \
             mean_distance(embed(response, 'builtin:style')) AS style, looping(response, 0.2) AS loops, \
             avg(reward(prompt, response, '{}')) AS reward FROM '{}' GROUP BY prompt)",
            judge.display(),
            file.display()
        );
        let expected = done(&["sql", "--format", "ndjson", "-c", &query]);
        let expected: Value = serde_json::from_str(&expected).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            let (found, value) = (line[name].as_f64().unwrap(), value.as_f64().unwrap());
            assert!((found - value).abs() < 1e-6, "{name}: {found}, {value}");
        }
    }
    // A reward model's plane has a best step, and its adapter loads.
    let best = watched.join("best");
    let outputs = folder.path().join("best.jsonl");
    let model = folder.path().join("tiny");
    let models = [
        "generate",
        "--model",
        text(&model),
        "--adapter",
        text(&best),
    ];
    let options = [
        "--samples",
        "1",
        "--max-tokens",
        "4",
        "--out",
        text(&outputs),
    ];
    done(&[&models[..], &["--prompts", text(&data)], &options].concat());
}

#[test]
fn a_killed_watched_run_ends_with_the_same_texts() {
    let folder = tempfile::tempdir().unwrap();
    let (_, data) = setup(folder.path(), "It opens at night.");
    let options = [
        &WATCH[..],
        &[
            "--max-steps",
            "6",
            "--learning-rate",
            "1e-3",
            "--save-steps",
            "1",
        ],
    ]
    .concat();
    finished(&command(folder.path(), &data, "whole", &options));
    let words = command(folder.path(), &data, "killed", &options);
    kill_until_done(&words, Duration::from_millis(80), Duration::from_millis(60));
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert_eq!(bytes(&whole.join("watch")), bytes(&killed.join("watch")));
    assert_eq!(
        lines_with(&whole, "watch_semantic"),
        lines_with(&killed, "watch_semantic")
    );
}

#[test]
fn a_collapse_is_named_and_can_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // A model that learns one letter says it forever, to every prompt.
    let (_, data) = setup(folder.path(), &"a ".repeat(60));
    fs::remove_dir_all(folder.path().join("tiny")).unwrap();
    std::os::unix::fs::symlink(model("llama"), folder.path().join("tiny")).unwrap();
    let options = [
        "--watch",
        "20",
        "--watch-max-tokens",
        "120",
        "--max-steps",
        "60",
        "--learning-rate",
        "3e-2",
    ];
    let words = command(
        folder.path(),
        &data,
        "collapsed",
        &[&options[..], &["--stop-on-collapse"]].concat(),
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run(&words);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("collapse at step ") && log.contains("collapsed at step "),
        "{log}"
    );
    // The same command does not train past it.
    let again = run(&words);
    assert_eq!(again.status.code(), Some(1));
    let out = folder.path().join("collapsed");
    let lines = lines_with(&out, "watch_collapse");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!out.join("adapter_model.safetensors").exists());
    // Without the flag the run goes on from there to its end.
    finished(&command(folder.path(), &data, "collapsed", &options));
    assert!(out.join("adapter_model.safetensors").exists());
}
