//! Weights of pairs: those of weight 0 are skipped, their mean is recorded, weights that are all 0 are refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::model;
use super::support::{run, text};
use super::train::{error_of, fixture, json, lines_with, metrics, succeed};

/// Writes the golden pairs of llama with these weights, the last pair held out.
fn pairs(folder: &Path, weights: [f64; 8]) -> PathBuf {
    let rows = fs::read_to_string(fixture("llama").join("pairs.jsonl")).unwrap();
    let rows = rows.lines().zip(weights).enumerate();
    let rows = rows.map(|(number, (row, weight))| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        row["weight"] = weight.into();
        row["split"] = if number == 7 { "test" } else { "train" }.into();
        format!("{row}\n")
    });
    let file = folder.join("pairs.jsonl");
    fs::write(&file, rows.collect::<String>()).unwrap();
    file
}

/// The arguments of a run on these pairs.
fn command(method: &str, data: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let model = model("llama");
    let arguments = [
        "train",
        method,
        "--model",
        text(&model),
        "--data",
        text(data),
        "--out",
        text(out),
    ];
    let short = [
        "--max-steps",
        "4",
        "--batch-size",
        "2",
        "--lora-r",
        "4",
        "--no-shuffle",
    ];
    let all = arguments.iter().chain(&short).chain(more);
    all.map(|argument| (*argument).to_owned()).collect()
}

#[test]
fn pairs_of_weight_0_are_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The first step has one pair that is passed, the second none, the third and fourth both.
    let data = pairs(folder.path(), [0.0, 2.0, 0.0, 0.0, 1.0, 1.5, 2.5, 0.0]);
    let logps = at("logps.jsonl");
    let shared = ["--reference-logps", text(&logps)];
    let arguments = command("ddpo", &data, &at("ddpo"), &shared);
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("3 of 7 pairs (43 %"), "{stderr}");
    let manifest = json(&at("ddpo").join("run.json"));
    assert_eq!(manifest["weights"]["mean"], 1.0);
    assert_eq!(manifest["weights"]["pairs"], 7);
    assert_eq!(manifest["weights"]["zero"], 3);
    let lines = lines_with(&at("ddpo"), "loss");
    let weights: Vec<&Value> = lines.iter().map(|line| &line["mean_weight"]).collect();
    assert_eq!(weights, [1.0, 0.0, 1.25, 2.5]);
    assert_eq!(lines[1]["loss"], 0.0);
    assert_eq!(lines[1]["grad_norm"], 0.0);
    assert_eq!(lines[1].get("rewards/chosen"), None);
    assert_eq!(lines[1]["num_tokens"], lines[0]["num_tokens"]);
    // Held-out pairs are evaluated whatever their weight.
    let eval = lines_with(&at("ddpo"), "eval_loss");
    assert_eq!(eval[0]["eval_loss"], 0.0);
    assert!(
        eval[0]["eval_logps/chosen"]
            .as_f64()
            .is_some_and(|logps| logps < 0.0)
    );

    // The cache lacks the skipped pairs; a run that passes them adds theirs and keeps the others.
    let rows = || -> Vec<String> {
        let text = fs::read_to_string(&logps).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let before = rows();
    let skipped: Vec<bool> = before.iter().map(|row| row == "null").collect();
    assert_eq!(
        skipped,
        [true, false, true, true, false, false, false, false]
    );
    succeed(&command("dpo", &data, &at("dpo"), &shared));
    for (before, after) in before.iter().zip(rows()) {
        assert_ne!(after, "null");
        assert!(before == "null" || *before == after);
    }
    assert!(
        metrics(&at("dpo"))
            .iter()
            .all(|line| line.get("mean_weight").is_none())
    );

    // The SFT term needs all pairs.
    succeed(&command(
        "ddpo",
        &data,
        &at("sft_term"),
        &["--sft-weight", "0.5"],
    ));
    for line in lines_with(&at("sft_term"), "loss") {
        assert!(line["nll_loss"].as_f64().is_some_and(|loss| loss > 0.0));
        assert!(line["rewards/chosen"].is_f64());
    }
}

#[test]
fn weights_that_are_all_0_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let data = pairs(folder.path(), [0.0; 8]);
    for method in ["ddpo", "dorpo"] {
        let error = error_of(&command(method, &data, &out, &[]));
        assert!(
            error.contains("all weights are 0 (training pairs: 7), at least one must be > 0"),
            "{error}"
        );
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
    succeed(&command("dpo", &data, &out, &[]));
}
