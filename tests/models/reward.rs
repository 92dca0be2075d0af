//! Reward models: training on scores and on pairs, kill and resume, metrics on held-out data, SQL.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::model;
use super::support::{done, kill_until_done, text};
use super::train::{error_of, fixture, json, lines_with, metrics, result_of, succeed};

/// Writes responses with scores, which increase with length; every fourth row is held out.
fn write_scores(file: &Path) {
    let row = |number: usize| {
        let response = "a story of dragons ".repeat(1 + number % 7);
        let split = if number.is_multiple_of(4) {
            "test"
        } else {
            "train"
        };
        let score = 0.1 * (number % 7) as f64;
        serde_json::json!({"prompt": format!("prompt {}", number % 3), "response": response,
            "score": score, "split": split})
        .to_string()
            + "\n"
    };
    fs::write(file, (0..32).map(row).collect::<String>()).unwrap();
}

#[test]
fn a_reward_model_on_scores_resumes_evaluates_and_runs_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (file, out, killed) = (at("scores.json"), at("reward"), at("killed"));
    write_scores(&file);
    let model = model("gemma2_reward");
    let words = |out: &Path| -> Vec<String> {
        let words = [
            "train",
            "reward",
            "--model",
            text(&model),
            "--data",
            text(&file),
            "--out",
            text(out),
            "--max-steps",
            "6",
            "--eval-steps",
            "2",
            "--save-steps",
            "2",
            "--learning-rate",
            "1e-2",
            "--raw-scores",
            "--max-length",
            "24",
            "--overlength",
            "truncate",
            "--lora-r",
            "4",
        ];
        words.map(str::to_owned).to_vec()
    };
    let start = Instant::now();
    succeed(&words(&out));
    let took = start.elapsed();
    let lines = lines_with(&out, "eval_loss");
    let steps: Vec<&Value> = lines.iter().map(|line| &line["step"]).collect();
    assert_eq!(steps, [2, 4, 6]);
    kill_until_done(&words(&killed), took.mul_f64(0.5), took / 5);
    assert_eq!(result_of(&out), result_of(&killed));

    // An evaluation that a stop interrupted runs when the run is resumed.
    let before = result_of(&out);
    let lines_at = out.join("metrics.jsonl");
    let log = fs::read_to_string(&lines_at).unwrap();
    let last = log.trim_end().rfind('\n').unwrap();
    assert!(log[last..].contains("eval_loss"));
    fs::write(&lines_at, &log[..=last]).unwrap();
    succeed(&words(&out));
    assert_eq!(before, result_of(&out));
    assert_eq!(log, fs::read_to_string(&lines_at).unwrap());

    // The trainer's MAE equals the MAE of the SQL function, which truncates at the same length.
    let metrics_of_last = json(&out.join("reward_eval.json"));
    assert_eq!(metrics_of_last["rows"], 8);
    let mae = |folder: &str| -> f64 {
        let query = format!(
            "SELECT avg(abs(reward(prompt, response, '{}') - score)) FROM '{}' WHERE split = 'test'",
            text(&out.join(folder)),
            text(&file)
        );
        let output = done(&["sql", "--format", "csv", "-c", &query]);
        output.lines().nth(1).unwrap().parse().unwrap()
    };
    let near = |actual: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!((actual - expected).abs() < 1e-4, "{actual} {expected}");
    };
    near(mae(""), &metrics_of_last["mae"]);
    let best = json(&out.join("best/reward_eval.json"));
    near(mae("best"), &best["mae"]);
    assert_eq!(
        json(&out.join("run.json"))["rows"],
        serde_json::json!({
            "train": 24, "held_out": 8, "unused_test": 0, "evaluated": 8, "duplicates": 0, "dropped": 0,
            "truncated": 32,
        })
    );
    let losses = lines.iter().filter_map(|line| line["eval_loss"].as_f64());
    near(
        mae("best"),
        &Value::from(losses.fold(f64::INFINITY, f64::min)),
    );

    let query = format!(
        "SELECT reward(prompt, response, '{}', split) FROM '{}'",
        text(&out),
        text(&file)
    );
    let error = error_of(&["sql", "-c", &query].map(str::to_owned));
    assert!(error.contains("needs to know its device"), "{error}");
}

#[test]
fn a_reward_model_on_pairs_increases_the_margin() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("reward");
    let pairs = fixture("llama").join("pairs.jsonl");
    let model = model("gemma2_reward");
    done(&[
        "train",
        "reward",
        "--reward-loss",
        "bradley_terry",
        "--model",
        text(&model),
        "--data",
        text(&pairs),
        "--out",
        text(&out),
        "--max-steps",
        "4",
        "--learning-rate",
        "1e-2",
        "--lr-scheduler-type",
        "constant",
        "--lora-r",
        "4",
    ]);
    let lines = metrics(&out);
    let number = |line: &Value, name: &str| line[name].as_f64().unwrap();
    assert!(number(&lines[3], "loss") < number(&lines[0], "loss"));
    assert!(number(&lines[3], "margin") > number(&lines[0], "margin"));
    for line in &lines {
        let (mean, margin) = (number(line, "mean_reward"), number(line, "margin"));
        assert!(number(line, "min_reward") < mean && mean < number(line, "max_reward"));
        assert!((0.0..=1.0).contains(&number(line, "accuracy")) && margin.is_finite());
    }
}
