//! Does a reward model learn of votes and of pairs, killed and resumed, and stand in SQL?

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::model;
use super::support::{done, kill_until_done, text};
use super::train::{golden, json, left, metrics, refused, trained};

/// Votes on answers, every fourth row held out: the more words, the more votes.
fn votes(file: &Path) {
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
fn a_reward_model_is_judged_on_held_out_votes_and_stands_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (file, out, broken) = (at("votes.json"), at("judge"), at("broken"));
    votes(&file);
    let model = model("gemma2_reward");
    let words = |out: &Path| -> Vec<String> {
        let words = [
            "train",
            "reward",
            "--model",
            text(&model),
            "--pairs",
            text(&file),
            "--out",
            text(out),
            "--steps",
            "6",
            "--eval-every",
            "2",
            "--checkpoint-every",
            "2",
            "--learning-rate",
            "1e-2",
            "--raw-scores",
            "--max-length",
            "24",
            "--too-long",
            "truncate",
            "--lora-r",
            "4",
        ];
        words.map(str::to_owned).to_vec()
    };
    let start = Instant::now();
    trained(&words(&out));
    let took = start.elapsed();
    let lines = metrics(&out);
    let evaluated = |line: &&Value| line["eval_loss"].is_number();
    let steps: Vec<&Value> = lines
        .iter()
        .filter(evaluated)
        .map(|line| &line["step"])
        .collect();
    assert_eq!(steps, [2, 4, 6]);
    kill_until_done(&words(&broken), took.mul_f64(0.5), took / 5);
    assert_eq!(left(&out), left(&broken));

    // An evaluation that a stop came in the midst of is made up for.
    let before = left(&out);
    let lines_at = out.join("metrics.jsonl");
    let told = fs::read_to_string(&lines_at).unwrap();
    let cut = told.rfind(",\"eval_loss\"").unwrap();
    fs::write(&lines_at, format!("{}}}\n", &told[..cut])).unwrap();
    trained(&words(&out));
    assert_eq!(before, left(&out));
    assert_eq!(told, fs::read_to_string(&lines_at).unwrap());

    // What the trainer says of the held-out rows is what the function gives, cut at the same length.
    let found = json(&out.join("agreement.json"));
    assert_eq!(found["rows"], 8);
    let off = |judge: &str| -> f64 {
        let query = format!(
            "SELECT avg(abs(reward(prompt, response, '{}') - score)) FROM '{}' WHERE split = 'test'",
            text(&out.join(judge)),
            text(&file)
        );
        let said = done(&["sql", "--format", "csv", "-c", &query]);
        said.lines().nth(1).unwrap().parse().unwrap()
    };
    let near = |given: f64, known: &Value| {
        let known = known.as_f64().unwrap();
        assert!((given - known).abs() < 1e-4, "{given} {known}");
    };
    near(off(""), &found["mae"]);
    let best = json(&out.join("best/agreement.json"));
    near(off("best"), &best["mae"]);
    assert_eq!(
        json(&out.join("run.json"))["rows"],
        serde_json::json!({
            "train": 24, "held_out": 8, "evaluated": 8, "repeated": 0, "left_out": 0, "cut": 32,
        })
    );
    let losses = lines.iter().filter_map(|line| line["eval_loss"].as_f64());
    near(
        off("best"),
        &Value::from(losses.fold(f64::INFINITY, f64::min)),
    );

    let query = format!(
        "SELECT reward(prompt, response, '{}', split) FROM '{}'",
        text(&out),
        text(&file)
    );
    let said = refused(&["sql", "-c", &query].map(str::to_owned));
    assert!(said.contains("needs to know its device"), "{said}");
}

#[test]
fn a_reward_model_learns_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("judge");
    let pairs = golden("llama").join("pairs.jsonl");
    let model = model("gemma2_reward");
    done(&[
        "train",
        "reward",
        "--reward-loss",
        "bradley_terry",
        "--model",
        text(&model),
        "--pairs",
        text(&pairs),
        "--out",
        text(&out),
        "--steps",
        "4",
        "--learning-rate",
        "1e-2",
        "--schedule",
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
