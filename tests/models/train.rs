//! Does training learn what PyTorch learns, step by step, and does a killed run end the same?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Random, bytes, done, kill_until_done, polyphony, run, text};
use super::{model, root};

pub(crate) fn golden(name: &str) -> PathBuf {
    root().join(format!("tests/fixtures/models/{name}"))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a run's metrics.
pub(crate) fn metrics(out: &Path) -> Vec<Value> {
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

pub(crate) fn trained(words: &[String]) -> String {
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
pub(crate) fn left(out: &Path) -> (Vec<Value>, Vec<(PathBuf, u64)>) {
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
    let mut random = Random::from_clock();
    for method in ["ddpo", "dorpo", "sft"] {
        let whole = folder.path().join(format!("{method}-whole"));
        let start = Instant::now();
        trained(&command(method, "llama", &whole, &SHORT));
        let took = start.elapsed();
        let broken = folder.path().join(format!("{method}-broken"));
        let mut first = took.mul_f64(0.2 + 0.5 * random.next_f64());
        let words = command(method, "llama", &broken, &SHORT);
        let kills = loop {
            match kill_until_done(&words, first, took / 5) {
                // The machine was busier before: sooner, then.
                0 => first /= 2,
                kills => break kills,
            }
            fs::remove_dir_all(&broken).unwrap();
        };
        assert_eq!(
            left(&whole),
            left(&broken),
            "{method}, killed {kills} times, {random:?}"
        );
    }
}

/// What the lines of a run tell.
const OF_STEPS: [&str; 6] = [
    "epoch",
    "grad_norm",
    "learning_rate",
    "num_tokens",
    "step",
    "tokens_per_second",
];
const OF_ANSWERS: [&str; 3] = ["entropy", "loss", "mean_token_accuracy"];
const OF_PAIRS: [&str; 8] = [
    "logits/chosen",
    "logits/rejected",
    "logps/chosen",
    "logps/rejected",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/margins",
    "rewards/rejected",
];
const OF_ODDS: [&str; 3] = ["log_odds_chosen", "log_odds_ratio", "nll_loss"];

/// Every field of a line, by method, on pairs of which some are held out; and checkpoints by minutes, of
/// which so many are kept.
#[test]
fn what_a_run_tells_has_the_names_of_trl() {
    let folder = tempfile::tempdir().unwrap();
    let rows = fs::read_to_string(golden("llama").join("pairs.jsonl")).unwrap();
    let split = |(number, row): (usize, &str)| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        row["split"] = if number < 2 { "test" } else { "train" }.into();
        format!("{row}\n")
    };
    let pairs = folder.path().join("pairs.jsonl");
    fs::write(
        &pairs,
        rows.lines().enumerate().map(split).collect::<String>(),
    )
    .unwrap();
    for (method, more, names) in [
        ("sft", &["--on-prompts"][..], &[&OF_ANSWERS[..]][..]),
        (
            "dpo",
            &["--loss", "ipo", "--rslora"],
            &[&OF_ANSWERS, &OF_PAIRS],
        ),
        ("dpo", &["--loss", "hinge"], &[&OF_ANSWERS, &OF_PAIRS]),
        (
            "ddpo",
            &["--label-smoothing", "0.1"],
            &[&OF_ANSWERS, &OF_PAIRS],
        ),
        (
            "orpo",
            &["--batch-tokens", "900"],
            &[&OF_ANSWERS, &OF_PAIRS, &OF_ODDS],
        ),
        (
            "dorpo",
            &["--dorpo-form", "reference"],
            &[&OF_ANSWERS, &OF_PAIRS, &OF_ODDS],
        ),
    ] {
        let out = folder.path().join(format!("{method}{}", more.concat()));
        let numbers = [
            "--steps",
            "3",
            "--lora-r",
            "4",
            "--eval-every",
            "2",
            "--checkpoint-every",
            "9",
        ];
        let kept = ["--checkpoint-minutes", "0", "--keep-checkpoints", "1"];
        let all = [&numbers[..], &kept, more, &["--pairs", text(&pairs)]].concat();
        let mut words = command(method, "llama", &out, &[]);
        let at = words.iter().position(|word| word == "--pairs").unwrap();
        words.drain(at..at + 2);
        words.extend(all.iter().map(|word| (*word).to_owned()));
        trained(&words);
        let asked: Vec<&str> = names.concat();
        for (number, line) in metrics(&out).iter().enumerate() {
            let mut known: Vec<String> = OF_STEPS
                .iter()
                .chain(&asked)
                .map(|&n| n.to_owned())
                .collect();
            if number > 0 {
                known.extend(asked.iter().map(|name| format!("eval_{name}")));
            }
            known.sort();
            let line = line.as_object().unwrap();
            let mut given: Vec<&String> = line.keys().collect();
            given.sort();
            assert_eq!(given, known.iter().collect::<Vec<_>>(), "{method} {more:?}");
            assert!(
                line.values()
                    .all(|value| value.as_f64().is_some_and(f64::is_finite))
            );
        }
        let checkpoints = fs::read_dir(out.join("checkpoints")).unwrap();
        let names: Vec<_> = checkpoints
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let config = json(&out.join("adapter_config.json"));
        assert_eq!(config["use_rslora"], more.contains(&"--rslora"));
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
    // Its lines say how fast each step was: made again, none would be the same.
    let raw = || fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let (before, told) = (left(&out), raw());
    trained(&command("dpo", "llama", &out, &SHORT));
    assert_eq!((before, told), (left(&out), raw()));
    let mut other = SHORT.to_vec();
    other[5] = "1e-4";
    let words = command("dpo", "llama", &out, &other);
    let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("holds a run by another config"), "{said}");
}

/// What is said of a command that must be refused.
pub(crate) fn refused(words: &[String]) -> String {
    let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Copies a folder's files.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_run_is_what_it_reads_and_not_where_that_lies() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (model_at, adapter, logps) = (at("model"), at("adapter"), at("logps.csv"));
    copied(&model("llama"), &model_at);
    copied(&golden("llama").join("adapter"), &adapter);
    // Beside the model's own files: what a run writes there is none of them.
    let out = model_at.join("out");
    let words = |model: &str, reference: &str, more: &[&str]| {
        let more = [
            &SHORT[..],
            &["--model", model, "--reference", reference],
            more,
        ]
        .concat();
        let mut words = command("dpo", "llama", &out, &more);
        words.drain(2..4);
        words
    };
    trained(&words(text(&model_at), text(&adapter), &[]));
    let (dotted, moved) = (at("./model/."), at("moved"));
    copied(&adapter, &moved);
    trained(&words(text(&dotted), text(&moved), &[]));
    // A file of log-probabilities is another run's once the tokens are others.
    let shared = [
        "--out",
        text(&at("shared")),
        "--reference-logps",
        text(&logps),
    ]
    .map(str::to_owned);
    let sharing = || {
        let mut words = words(text(&model_at), text(&adapter), &[]);
        words.retain(|word| word != "--out" && word != text(&out));
        words.extend(shared.clone());
        words
    };
    trained(&sharing());
    let template = model_at.join("chat_template.jinja");
    let before = fs::read_to_string(&template).unwrap();
    fs::write(&template, format!("{before}{{# changed #}}")).unwrap();
    let said = refused(&words(text(&model_at), text(&adapter), &[]));
    assert!(said.contains("holds a run of another model"), "{said}");
    let mut other = sharing();
    let place = other
        .iter()
        .position(|word| word.ends_with("shared"))
        .unwrap();
    other[place] = text(&at("third")).to_owned();
    let said = refused(&other);
    assert!(
        said.contains("of other pairs, or of another reference"),
        "{said}"
    );
    fs::write(&template, before).unwrap();
    // The reference is the adapter's contents.
    let config = adapter.join("adapter_config.json");
    let mut changed = json(&config);
    changed["lora_alpha"] = Value::from(3);
    fs::write(&config, changed.to_string()).unwrap();
    let said = refused(&words(text(&model_at), text(&adapter), &[]));
    assert!(
        said.contains("holds a run with another reference"),
        "{said}"
    );
}

#[test]
fn its_own_config_repeats_a_run_and_anothers_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (out, again, mine) = (at("out"), at("again"), at("mine"));
    let adapter = golden("llama").join("adapter");
    let more = ["--adapter", text(&adapter), "--steps", "3"];
    trained(&command("ddpo", "llama", &out, &more));
    let config = out.join("config.toml");
    done(&[
        "train",
        "ddpo",
        "--config",
        text(&config),
        "--out",
        text(&again),
    ]);
    let losses = |out: &Path| -> Vec<Value> {
        metrics(out)
            .into_iter()
            .map(|line| line["loss"].clone())
            .collect()
    };
    assert_eq!(losses(&out), losses(&again));
    done(&["train", "ddpo", "--config", text(&config)]);
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("config.toml"), "steps = 3 # mine").unwrap();
    let said = refused(&command("ddpo", "llama", &mine, &more));
    assert!(said.contains("config.toml that no run wrote"), "{said}");
    let kept = fs::read_to_string(mine.join("config.toml")).unwrap();
    assert_eq!(kept, "steps = 3 # mine");
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
    // Wherever it is read from, it finds its base.
    let base = Path::new(config["base_model_name_or_path"].as_str().unwrap());
    assert_eq!(base, model("llama").canonicalize().unwrap());
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
