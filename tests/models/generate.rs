//! `polyphony generate`: resuming after a kill, output that `eval` reads, effect of the options.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::support::{Random, done, kill_until_done, run, text};
use super::{model, root};

fn command(out: &Path, more: &[&str]) -> Vec<String> {
    let golden = root().join("tests/fixtures/models/llama");
    let (model, adapter) = (model("llama"), golden.join("adapter"));
    let prompts = golden.join("pairs.jsonl");
    let args = [
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
    let args = args.iter().chain(more);
    args.map(|arg| (*arg).to_owned()).collect()
}

fn as_strs(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn a_killed_and_resumed_run_writes_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let uninterrupted = folder.path().join("whole.jsonl");
    done(&as_strs(&command(&uninterrupted, &[])));
    let expected = fs::read(&uninterrupted).unwrap();
    assert_eq!(std::str::from_utf8(&expected).unwrap().lines().count(), 20);

    let mut random = Random::from_clock();
    let killed = folder.path().join("killed.jsonl");
    let first = Duration::from_millis(40 + (random.next_f64() * 200.0) as u64);
    let kills = kill_until_done(&command(&killed, &[]), first, Duration::from_millis(60));
    assert!(kills > 0, "{random:?}");
    assert_eq!(fs::read(&killed).unwrap(), expected, "{random:?}");

    // Resumed from the middle of a line, with another batch size.
    let truncated = folder.path().join("cut.jsonl");
    fs::write(&truncated, &expected[..expected.len() / 2]).unwrap();
    fs::copy(
        folder.path().join("whole.jsonl.json"),
        folder.path().join("cut.jsonl.json"),
    )
    .unwrap();
    done(&as_strs(&command(&truncated, &["--batch-size", "3"])));
    assert_eq!(fs::read(&truncated).unwrap(), expected);

    // A file that was written with other options is not resumed.
    let other = run(&as_strs(&command(&truncated, &["--seed", "7"])));
    assert_eq!(other.status.code(), Some(1));
    let stderr = String::from_utf8(other.stderr).unwrap();
    assert!(
        stderr.contains("was written with other options"),
        "{stderr}"
    );
    assert_eq!(fs::read(&truncated).unwrap(), expected);
}

#[test]
fn eval_reads_the_generated_files() {
    let folder = tempfile::tempdir().unwrap();
    let (tuned, base) = (
        folder.path().join("tuned.jsonl"),
        folder.path().join("base.jsonl"),
    );
    done(&as_strs(&command(&tuned, &["--name", "tuned"])));
    let greedy = [
        "--temperature",
        "0",
        "--repetition-penalty",
        "1",
        "--name",
        "greedy",
    ];
    done(&as_strs(&command(&base, &greedy)));
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
    // Greedy decoding: five identical samples, so no diversity.
    assert_eq!(models[0]["name"], "greedy");
    assert!(diversity(0).abs() < 1e-6 && diversity(1) > 0.05);
}

/// Merged and unmerged adapter, system prompt, and no chat template.
#[test]
fn options_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    let generate = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let greedy = ["--temperature", "0", "--name", "m"];
        done(&as_strs(&command(&out, &[&greedy, more].concat())));
        let manifest = fs::read(folder.path().join(format!("{name}.json"))).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        (fs::read_to_string(out).unwrap(), manifest)
    };
    let (merged, _) = generate("merged.jsonl", &[]);
    let (unmerged, manifest) = generate("unmerged.jsonl", &["--no-merge"]);
    assert_eq!(unmerged, merged);
    assert_eq!(manifest["merged"], false);
    let (system, manifest) = generate("system.jsonl", &["--system", "Write one sad line."]);
    assert_ne!(system, merged);
    assert_eq!(manifest["system_prompt"], "Write one sad line.");
    let (plain, manifest) = generate("plain.jsonl", &["--no-chat-template"]);
    assert_ne!(plain, merged);
    assert_eq!(manifest["chat_template"], false);
}
