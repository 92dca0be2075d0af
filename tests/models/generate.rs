//! Does a model write the same, killed and gone on with, and is what cannot be written refused?

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::support::{Random, done, kill_until_done, run, text};
use super::{model, root};

fn command(out: &Path, more: &[&str]) -> Vec<String> {
    let golden = root().join("tests/fixtures/models/llama");
    let (model, adapter) = (model("llama"), golden.join("adapter"));
    let prompts = golden.join("pairs.jsonl");
    let words = [
        "generate",
        "--model",
        text(&model),
        "--adapter",
        text(&adapter),
        "--prompts",
        text(&prompts),
        "--out",
        text(out),
        "--samples",
        "5",
        "--max-tokens",
        "48",
    ];
    let words = words.iter().chain(more);
    words.map(|word| (*word).to_owned()).collect()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn killed_and_gone_on_with_it_writes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.jsonl");
    done(&words(&command(&whole, &[])));
    let expected = fs::read(&whole).unwrap();
    assert_eq!(std::str::from_utf8(&expected).unwrap().lines().count(), 20);

    let mut random = Random::from_clock();
    let killed = folder.path().join("killed.jsonl");
    let first = Duration::from_millis(40 + (random.next_f64() * 200.0) as u64);
    let kills = kill_until_done(&command(&killed, &[]), first, Duration::from_millis(60));
    assert!(kills > 0, "{random:?}");
    assert_eq!(fs::read(&killed).unwrap(), expected, "{random:?}");

    // However many are written at a time, and from the middle of a line.
    let cut = folder.path().join("cut.jsonl");
    fs::write(&cut, &expected[..expected.len() / 2]).unwrap();
    fs::copy(
        folder.path().join("whole.jsonl.json"),
        folder.path().join("cut.jsonl.json"),
    )
    .unwrap();
    done(&words(&command(&cut, &["--batch-size", "3"])));
    assert_eq!(fs::read(&cut).unwrap(), expected);

    // What was made otherwise is not gone on with.
    let other = run(&words(&command(&cut, &["--seed", "7"])));
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("was written with other options"), "{said}");
    assert_eq!(fs::read(&cut).unwrap(), expected);
}

#[test]
fn its_lines_are_outputs_that_a_report_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (tuned, base) = (
        folder.path().join("tuned.jsonl"),
        folder.path().join("base.jsonl"),
    );
    done(&words(&command(&tuned, &["--name", "tuned"])));
    let greedy = [
        "--temperature",
        "0",
        "--repetition-penalty",
        "1",
        "--name",
        "greedy",
    ];
    done(&words(&command(&base, &greedy)));
    let query = format!("SELECT count(DISTINCT response) FROM '{}'", text(&base));
    assert!(done(&["sql", "--format", "csv", "-c", &query]).ends_with("\n4\n"));
    let out = folder.path().join("report");
    let table = done(&["eval", text(&tuned), text(&base), "--out", text(&out)]);
    assert!(
        table.contains("tuned") && table.contains("greedy"),
        "{table}"
    );
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["options"]["k"], 5);
    let models = report["models"].as_array().unwrap();
    let diversity = |model: usize| {
        models[model]["values"]["semantic"]["mean"]
            .as_f64()
            .unwrap()
    };
    // Always the likeliest token: five times the same text.
    assert_eq!(models[0]["name"], "greedy");
    assert!(diversity(0).abs() < 1e-6 && diversity(1) > 0.05);
}

/// With the adapter beside the weights or in them, with a system prompt, and without a template.
#[test]
fn what_it_is_told_counts() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let greedy = ["--temperature", "0", "--name", "m"];
        done(&words(&command(&out, &[&greedy, more].concat())));
        let how = fs::read(folder.path().join(format!("{name}.json"))).unwrap();
        let how: serde_json::Value = serde_json::from_slice(&how).unwrap();
        (fs::read_to_string(out).unwrap(), how)
    };
    let (merged, _) = written("merged.jsonl", &[]);
    let (unmerged, how) = written("unmerged.jsonl", &["--no-merge"]);
    assert_eq!(unmerged, merged);
    assert_eq!(how["merged"], false);
    let (system, how) = written("system.jsonl", &["--system", "Write one sad line."]);
    assert_ne!(system, merged);
    assert_eq!(how["system_prompt"], "Write one sad line.");
    let (plain, how) = written("plain.jsonl", &["--no-chat-template"]);
    assert_ne!(plain, merged);
    assert_eq!(how["chat_template"], false);
}
