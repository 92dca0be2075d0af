//! Does training learn what PyTorch learns, step by step, and does a killed run end the same?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Random, bytes, done, kill_until_done, polyphony, run, text};
use super::{model, root};

fn golden(name: &str) -> PathBuf {
    root().join(format!("tests/fixtures/models/{name}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a run's metrics.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A command on a golden model and its pairs.
fn command(method: &str, name: &str, out: &Path, more: &[&str]) -> Vec<String> {
    let pairs = golden(name).join("pairs.jsonl");
    let model = model(name);
    let words = [
        "train",
        method,
        "--model",
        text(&model),
        "--pairs",
        text(&pairs),
        "--out",
        text(out),
    ];
    words
        .iter()
        .chain(more)
        .map(|word| (*word).to_owned())
        .collect()
}

fn trained(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    done(&words)
}

#[test]
fn six_steps_are_those_of_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "mistral"] {
        let expected = json(&golden(name).join("expected.json"));
        let adapter = golden(name).join("adapter");
        for method in ["ddpo", "dorpo"] {
            let out = folder.path().join(format!("{name}-{method}"));
            let more = [
                "--adapter",
                text(&adapter),
                "--reference",
                "base",
                "--steps",
                "6",
                "--batch-pairs",
                "8",
                "--learning-rate",
                "1e-3",
                "--weight-decay",
                "0.01",
                "--max-grad-norm",
                "1.0",
                "--schedule",
                "constant",
                "--no-shuffle",
                "--device",
                "cpu",
            ];
            trained(&command(method, name, &out, &more));
            let known = expected["curve"][method]["loss_and_grad_norm"]
                .as_array()
                .unwrap();
            let lines = metrics(&out);
            assert_eq!(lines.len(), 6);
            for (line, known) in lines.iter().zip(known) {
                for (field, place) in [("loss", 0), ("grad_norm", 1)] {
                    let (given, known) = (
                        line[field].as_f64().unwrap(),
                        known[place].as_f64().unwrap(),
                    );
                    let off = (given / known - 1.0).abs();
                    assert!(off < 1e-4, "{name} {method} {field}: {given} for {known}");
                }
            }
        }
    }
}

/// A short run with several epochs, a schedule, and several passes a step.
const SHORT: [&str; 18] = [
    "--steps",
    "8",
    "--batch-pairs",
    "3",
    "--learning-rate",
    "1e-3",
    "--schedule",
    "cosine",
    "--warmup",
    "3",
    "--checkpoint-every",
    "2",
    "--micro-batch-tokens",
    "600",
    "--lora-r",
    "4",
    "--seed",
    "7",
];

/// What a run leaves, but for how fast it was.
fn left(out: &Path) -> (Vec<Value>, Vec<(PathBuf, u64)>) {
    let mut lines = metrics(out);
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("tokens_per_second");
    }
    let files = bytes(out).into_iter();
    let kept = |name: &PathBuf| !["metrics.jsonl", "config.toml"].contains(&text(name));
    (lines, files.filter(|(name, _)| kept(name)).collect())
}

#[test]
fn killed_at_any_moment_a_run_ends_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::seeded();
    for method in ["ddpo", "dorpo", "sft"] {
        let whole = folder.path().join(format!("{method}-whole"));
        let start = Instant::now();
        trained(&command(method, "llama", &whole, &SHORT));
        let took = start.elapsed();
        let broken = folder.path().join(format!("{method}-broken"));
        let first = took.mul_f64(0.2 + 0.5 * random.unit());
        let kills = kill_until_done(&command(method, "llama", &broken, &SHORT), first, took / 5);
        assert!(kills > 0, "{random:?}");
        assert_eq!(
            left(&whole),
            left(&broken),
            "{method}, killed {kills} times, {random:?}"
        );
    }
}

#[test]
fn what_was_interrupted_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    trained(&command("ddpo", "llama", &whole, &SHORT));
    let out = folder.path().join("stopped");
    let words = command("ddpo", "llama", &out, &SHORT);
    let child = polyphony()
        .args(&words)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !out.join("metrics.jsonl").is_file() || metrics(&out).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let number = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &number])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("stopped after step "), "{said}");
    assert!(!out.join("adapter_model.safetensors").exists());
    trained(&words);
    assert_eq!(left(&whole).0, left(&out).0);
}

#[test]
fn a_finished_run_is_not_run_again_and_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    trained(&command("dpo", "llama", &out, &SHORT));
    let before = left(&out);
    trained(&command("dpo", "llama", &out, &SHORT));
    assert_eq!(before, left(&out));
    let mut other = SHORT.to_vec();
    other[5] = "1e-4";
    let words = command("dpo", "llama", &out, &other);
    let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("holds a run by another config"), "{said}");
}

#[test]
fn an_adapter_starts_where_it_ended_and_serves_as_reference() {
    let folder = tempfile::tempdir().unwrap();
    let (sft, dpo) = (folder.path().join("sft"), folder.path().join("dpo"));
    trained(&command("sft", "llama", &sft, &SHORT));
    let more = [
        &SHORT[..],
        &["--adapter", text(&sft), "--reference", text(&sft)],
    ]
    .concat();
    trained(&command("dpo", "llama", &dpo, &more));
    // The policy is its own reference before the first step.
    let first = &metrics(&dpo)[0];
    let near = |name: &str, known: f64| {
        let given = first[name].as_f64().unwrap();
        assert!((given - known).abs() < 1e-4, "{name}: {given}");
    };
    near("loss", std::f64::consts::LN_2);
    near("rewards/margins", 0.0);
    let config = json(&dpo.join("adapter_config.json"));
    assert_eq!(config["r"], 4);
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!(config["modules_to_save"], Value::Null);
}

#[test]
fn passes_of_any_size_and_recomputing_give_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, more: &[&str]| -> Vec<f64> {
        let out = folder.path().join(name);
        let more = [
            &["--steps", "3", "--learning-rate", "1e-3", "--lora-r", "4"],
            more,
        ]
        .concat();
        trained(&command("dorpo", "llama", &out, &more));
        metrics(&out)
            .iter()
            .map(|line| line["loss"].as_f64().unwrap())
            .collect()
    };
    for form in ["weighted", "reference"] {
        let whole = of(&format!("{form}-whole"), &["--dorpo-form", form]);
        let small = of(
            &format!("{form}-small"),
            &["--dorpo-form", form, "--micro-batch-tokens", "1"],
        );
        let again = of(
            &format!("{form}-again"),
            &["--dorpo-form", form, "--recompute"],
        );
        assert_eq!(whole, again);
        for (whole, small) in whole.iter().zip(small) {
            assert!(
                (whole - small).abs() < 1e-5 * whole,
                "{form}: {whole} {small}"
            );
        }
    }
}
