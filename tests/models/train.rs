//! Training: losses equal PyTorch's step by step, a resumed run equals an uninterrupted one bit for bit; metrics,
//! manifests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Random, bytes, done, kill_until_done, polyphony, run, text};
use super::{model, root};

/// The folder of a fixture: a small model, an adapter, pairs, expected values.
pub(crate) fn fixture(name: &str) -> PathBuf {
    root().join(format!("tests/fixtures/models/{name}"))
}

/// The content of a JSON file.
pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All lines of a run's metrics.
pub(crate) fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines of a run's metrics that have a field: those of steps, or of evaluations.
pub(crate) fn lines_with(out: &Path, field: &str) -> Vec<Value> {
    let lines = metrics(out).into_iter();
    lines.filter(|line| line.get(field).is_some()).collect()
}

/// The pairs of a fixture: its own, or those that the models of `tests/peers/families.py` share.
fn pairs(name: &str) -> PathBuf {
    let own = fixture(name).join("pairs.jsonl");
    if own.exists() {
        own
    } else {
        fixture("families.jsonl")
    }
}

/// The arguments of a training run on a fixture's model and pairs.
fn command(method: &str, name: &str, out: &Path, more: &[&str]) -> Vec<String> {
    let pairs = pairs(name);
    let model = model(name);
    let arguments = [
        "train",
        method,
        "--model",
        text(&model),
        "--data",
        text(&pairs),
        "--out",
        text(out),
    ];
    arguments
        .iter()
        .chain(more)
        .map(|argument| (*argument).to_owned())
        .collect()
}

/// Runs a command that must succeed and returns its stdout.
pub(crate) fn succeed(arguments: &[String]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    done(&arguments)
}

#[test]
fn losses_and_gradient_norms_of_six_steps_match_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "llama", "mistral", "llama32", "smollm2", "qwen2", "qwen3", "gemma3",
    ] {
        let expected = json(&fixture(name).join("expected.json"));
        let adapter = fixture(name).join("adapter");
        for method in ["ddpo", "dorpo"] {
            let out = folder.path().join(format!("{name}-{method}"));
            let more = [
                "--adapter",
                text(&adapter),
                "--reference",
                "base",
                "--max-steps",
                "6",
                "--batch-size",
                "8",
                "--learning-rate",
                "1e-3",
                "--weight-decay",
                "0.01",
                "--max-grad-norm",
                "1.0",
                "--lr-scheduler-type",
                "constant",
                "--no-shuffle",
                "--device",
                "cpu",
            ];
            succeed(&command(method, name, &out, &more));
            let curve = expected["curve"][method]["loss_and_grad_norm"]
                .as_array()
                .unwrap();
            let lines = metrics(&out);
            assert_eq!(lines.len(), 6);
            for (line, expected) in lines.iter().zip(curve) {
                for (field, index) in [("loss", 0), ("grad_norm", 1)] {
                    let (actual, expected) = (
                        line[field].as_f64().unwrap(),
                        expected[index].as_f64().unwrap(),
                    );
                    let error = (actual / expected - 1.0).abs();
                    assert!(
                        error < 1e-4,
                        "{name} {method} {field}: {actual} for {expected}"
                    );
                }
            }
        }
    }
}

/// Options of a short run with several epochs, a learning-rate schedule and several micro-batches a step.
const SHORT: [&str; 18] = [
    "--max-steps",
    "8",
    "--batch-size",
    "3",
    "--learning-rate",
    "1e-3",
    "--lr-scheduler-type",
    "cosine",
    "--warmup-steps",
    "3",
    "--save-steps",
    "2",
    "--micro-batch-tokens",
    "600",
    "--lora-r",
    "4",
    "--seed",
    "7",
];

/// The metrics of a run, without its speed, and hashes of its files.
pub(crate) fn result_of(out: &Path) -> (Vec<Value>, Vec<(PathBuf, u64)>) {
    let mut lines = metrics(out);
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("tokens_per_second");
    }
    let files = bytes(out).into_iter();
    let compared = |name: &PathBuf| {
        !["metrics.jsonl", "metrics.jsonl.checksums", "config.toml"].contains(&text(name))
    };
    (lines, files.filter(|(name, _)| compared(name)).collect())
}

#[test]
fn a_killed_and_resumed_run_ends_bit_identical() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::from_clock();
    for method in ["ddpo", "dorpo", "sft"] {
        let uninterrupted = folder.path().join(format!("{method}-uninterrupted"));
        let start = Instant::now();
        succeed(&command(method, "llama", &uninterrupted, &SHORT));
        let took = start.elapsed();
        let killed = folder.path().join(format!("{method}-killed"));
        let mut first = took.mul_f64(0.2 + 0.5 * random.next_f64());
        let arguments = command(method, "llama", &killed, &SHORT);
        let kills = loop {
            match kill_until_done(&arguments, first, took / 5) {
                // The run finished before the first kill: kill earlier.
                0 => first /= 2,
                kills => break kills,
            }
            fs::remove_dir_all(&killed).unwrap();
        };
        assert_eq!(
            result_of(&uninterrupted),
            result_of(&killed),
            "{method}, killed {kills} times, {random:?}"
        );
    }
}

/// The metrics of a step for every method.
const STEP_FIELDS: [&str; 6] = [
    "epoch",
    "grad_norm",
    "learning_rate",
    "num_tokens",
    "step",
    "tokens_per_second",
];
const TOKEN_FIELDS: [&str; 3] = ["entropy", "loss", "mean_token_accuracy"];
const PAIR_FIELDS: [&str; 8] = [
    "logits/chosen",
    "logits/rejected",
    "logps/chosen",
    "logps/rejected",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/margins",
    "rewards/rejected",
];
const WEIGHT_FIELDS: [&str; 1] = ["mean_weight"];
const SFT_TERM_FIELDS: [&str; 1] = ["nll_loss"];
const ORPO_FIELDS: [&str; 3] = ["log_odds_chosen", "log_odds_ratio", "nll_loss"];

/// All fields of the lines of steps and evaluations, by method; checkpoints by time, and their limit.
#[test]
fn metrics_have_trls_names() {
    let folder = tempfile::tempdir().unwrap();
    let rows = fs::read_to_string(fixture("llama").join("pairs.jsonl")).unwrap();
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
        ("sft", &["--train-on-prompts"][..], &[&TOKEN_FIELDS[..]][..]),
        (
            "dpo",
            &["--loss-type", "ipo", "--use-rslora"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS],
        ),
        (
            "dpo",
            &["--loss-type", "hinge"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS],
        ),
        (
            "ddpo",
            &["--label-smoothing", "0.1"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS, &WEIGHT_FIELDS],
        ),
        (
            "dpo",
            &["--sft-weight", "0.1"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS, &SFT_TERM_FIELDS],
        ),
        (
            "orpo",
            &["--batch-tokens", "900"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS, &ORPO_FIELDS],
        ),
        (
            "dorpo",
            &["--dorpo-form", "reference"],
            &[&TOKEN_FIELDS, &PAIR_FIELDS, &ORPO_FIELDS, &WEIGHT_FIELDS],
        ),
    ] {
        let out = folder.path().join(format!("{method}{}", more.concat()));
        let numbers = [
            "--max-steps",
            "3",
            "--lora-r",
            "4",
            "--eval-steps",
            "2",
            "--save-steps",
            "9",
        ];
        let checkpoints = ["--save-minutes", "0", "--save-total-limit", "1"];
        let all = [&numbers[..], &checkpoints, more, &["--data", text(&pairs)]].concat();
        let mut arguments = command(method, "llama", &out, &[]);
        let at = arguments
            .iter()
            .position(|argument| argument == "--data")
            .unwrap();
        arguments.drain(at..at + 2);
        arguments.extend(all.iter().map(|argument| (*argument).to_owned()));
        succeed(&arguments);
        let names: Vec<&str> = names.concat();
        let step_fields = STEP_FIELDS.iter().chain(&names);
        let step_fields: BTreeSet<String> = step_fields.map(|&name| name.to_owned()).collect();
        let eval_fields = names.iter().map(|name| format!("eval_{name}"));
        let eval_fields: BTreeSet<String> = eval_fields
            .chain(["epoch", "step"].map(str::to_owned))
            .collect();
        let lines = metrics(&out);
        let steps: Vec<&Value> = lines.iter().map(|line| &line["step"]).collect();
        assert_eq!(steps, [1, 2, 2, 3, 3]);
        for (index, line) in lines.iter().enumerate() {
            let expected = match index {
                2 | 4 => &eval_fields,
                _ => &step_fields,
            };
            let line = line.as_object().unwrap();
            let actual: BTreeSet<String> = line.keys().cloned().collect();
            assert_eq!(&actual, expected, "{method} {more:?}");
            assert!(
                line.values()
                    .all(|value| value.as_f64().is_some_and(f64::is_finite))
            );
        }
        let saved = fs::read_dir(out.join("checkpoints")).unwrap();
        let names: Vec<_> = saved.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let config = json(&out.join("adapter_config.json"));
        assert_eq!(config["use_rslora"], more.contains(&"--use-rslora"));
    }
}

#[test]
fn ctrl_c_ends_with_130_and_the_run_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let uninterrupted = folder.path().join("uninterrupted");
    succeed(&command("ddpo", "llama", &uninterrupted, &SHORT));
    let out = folder.path().join("stopped");
    let arguments = command("ddpo", "llama", &out, &SHORT);
    let child = polyphony()
        .args(&arguments)
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
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.contains("error: cancelled: stopped after step "),
        "{stderr}"
    );
    assert!(!out.join("adapter_model.safetensors").exists());
    succeed(&arguments);
    assert_eq!(result_of(&uninterrupted).0, result_of(&out).0);
}

#[test]
fn a_finished_run_is_not_repeated_and_another_run_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    succeed(&command("dpo", "llama", &out, &SHORT));
    // The lines include each step's speed, so that a repeated step would change the file.
    let raw = || fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let (before, log) = (result_of(&out), raw());
    succeed(&command("dpo", "llama", &out, &SHORT));
    assert_eq!((before, log), (result_of(&out), raw()));
    let mut other = SHORT.to_vec();
    other[5] = "1e-4";
    let arguments = command("dpo", "llama", &out, &other);
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("contains a run with another configuration"),
        "{error}"
    );
}

/// Runs a command that must fail with exit code 1 and returns its stderr.
pub(crate) fn error_of(arguments: &[String]) -> String {
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Copies the files of a folder.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_run_is_identified_by_its_inputs_not_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (model_at, adapter, logps) = (at("model"), at("adapter"), at("logps.jsonl"));
    copy_files(&model("llama"), &model_at);
    copy_files(&fixture("llama").join("adapter"), &adapter);
    // An output folder inside the model's folder must not count as part of the model.
    let out = model_at.join("out");
    let arguments = |model: &str, reference: &str, more: &[&str]| {
        let more = [
            &SHORT[..],
            &["--model", model, "--reference", reference],
            more,
        ]
        .concat();
        let mut arguments = command("dpo", "llama", &out, &more);
        arguments.drain(2..4);
        arguments
    };
    succeed(&arguments(text(&model_at), text(&adapter), &[]));
    let (dotted, moved) = (at("./model/."), at("moved"));
    copy_files(&adapter, &moved);
    succeed(&arguments(text(&dotted), text(&moved), &[]));
    // A cache of reference log-probabilities is an error once the tokens change.
    let shared = [
        "--out",
        text(&at("shared")),
        "--reference-logps",
        text(&logps),
    ]
    .map(str::to_owned);
    let sharing = || {
        let mut arguments = arguments(text(&model_at), text(&adapter), &[]);
        arguments.retain(|argument| argument != "--out" && argument != text(&out));
        arguments.extend(shared.clone());
        arguments
    };
    succeed(&sharing());
    let template = model_at.join("chat_template.jinja");
    let before = fs::read_to_string(&template).unwrap();
    fs::write(&template, format!("{before}{{# changed #}}")).unwrap();
    let error = error_of(&arguments(text(&model_at), text(&adapter), &[]));
    assert!(error.contains("contains a run of another model"), "{error}");
    let mut other = sharing();
    let index = other
        .iter()
        .position(|argument| argument.ends_with("shared"))
        .unwrap();
    other[index] = text(&at("third")).to_owned();
    let error = error_of(&other);
    assert!(
        error.contains("of other pairs, or of another reference"),
        "{error}"
    );
    fs::write(&template, before).unwrap();
    // A reference adapter is identified by its contents, not by its path.
    let config = adapter.join("adapter_config.json");
    let mut changed = json(&config);
    changed["lora_alpha"] = Value::from(3);
    fs::write(&config, changed.to_string()).unwrap();
    let error = error_of(&arguments(text(&model_at), text(&adapter), &[]));
    assert!(
        error.contains("contains a run with another reference"),
        "{error}"
    );
}

#[test]
fn a_run_is_repeated_by_its_config_and_a_foreign_config_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (out, again, foreign) = (at("out"), at("again"), at("foreign"));
    let adapter = fixture("llama").join("adapter");
    let more = ["--adapter", text(&adapter), "--max-steps", "3"];
    succeed(&command("ddpo", "llama", &out, &more));
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
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("config.toml"), "max_steps = 3 # foreign").unwrap();
    let error = error_of(&command("ddpo", "llama", &foreign, &more));
    assert!(error.contains("config.toml that no run wrote"), "{error}");
    let content = fs::read_to_string(foreign.join("config.toml")).unwrap();
    assert_eq!(content, "max_steps = 3 # foreign");
}

#[test]
fn a_trained_adapter_can_be_starting_point_and_reference_model() {
    let folder = tempfile::tempdir().unwrap();
    let (sft, dpo) = (folder.path().join("sft"), folder.path().join("dpo"));
    succeed(&command("sft", "llama", &sft, &SHORT));
    let more = [
        &SHORT[..],
        &["--adapter", text(&sft), "--reference", text(&sft)],
    ]
    .concat();
    succeed(&command("dpo", "llama", &dpo, &more));
    // Before the first step the policy equals the reference model.
    let first = &metrics(&dpo)[0];
    let near = |name: &str, expected: f64| {
        let actual = first[name].as_f64().unwrap();
        assert!((actual - expected).abs() < 1e-4, "{name}: {actual}");
    };
    near("loss", std::f64::consts::LN_2);
    near("rewards/margins", 0.0);
    let config = json(&dpo.join("adapter_config.json"));
    assert_eq!(config["r"], 4);
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!(config["modules_to_save"], Value::Null);
    // The path is absolute, so that the base model is found from any working directory.
    let base = Path::new(config["base_model_name_or_path"].as_str().unwrap());
    assert_eq!(base, model("llama").canonicalize().unwrap());
}

#[test]
fn micro_batch_size_and_gradient_checkpointing_do_not_change_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, more: &[&str]| -> Vec<f64> {
        let out = folder.path().join(name);
        let more = [
            &[
                "--max-steps",
                "3",
                "--learning-rate",
                "1e-3",
                "--lora-r",
                "4",
            ],
            more,
        ]
        .concat();
        succeed(&command("dorpo", "llama", &out, &more));
        metrics(&out)
            .iter()
            .map(|line| line["loss"].as_f64().unwrap())
            .collect()
    };
    // Three pairs a device do not divide the eight pairs of a step.
    let devices = [
        "--dorpo-form",
        "reference",
        "--per-device-train-batch-size",
        "3",
    ];
    for (form, options) in [
        ("weighted", &["--dorpo-form", "weighted"][..]),
        ("reference", &["--dorpo-form", "reference"]),
        ("devices", &devices),
    ] {
        let one_batch = losses(&format!("{form}-one_batch"), options);
        let micro_batches = losses(
            &format!("{form}-micro_batches"),
            &[options, &["--micro-batch-tokens", "1"]].concat(),
        );
        let checkpointed = losses(
            &format!("{form}-checkpointed"),
            &[options, &["--gradient-checkpointing"]].concat(),
        );
        assert_eq!(one_batch, checkpointed);
        for (one_batch, micro_batches) in one_batch.iter().zip(micro_batches) {
            assert!(
                (one_batch - micro_batches).abs() < 1e-5 * one_batch,
                "{form}: {one_batch} {micro_batches}"
            );
        }
    }
}
