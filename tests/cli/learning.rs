//! `polyphony train`: help, and the errors of models, datasets and options.

use std::io::Write as _;
use std::path::Path;

use super::{Transcript, printed};

#[test]
fn help_of_train() {
    insta::assert_snapshot!(printed(&[&["train", "--help"]]));
}

/// A folder with models, adapters, datasets and configuration files, most of them invalid.
fn fixtures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for (name, folder) in [
        ("llama", "llama/model"),
        ("encoder", "minilm_bert/model"),
        ("adapter", "llama/adapter"),
        ("of_mistral", "mistral/adapter"),
        ("pairs.jsonl", "llama/pairs.jsonl"),
    ] {
        std::os::unix::fs::symlink(models.join(folder), at(name)).unwrap();
    }
    let line = std::fs::read_to_string(at("pairs.jsonl")).unwrap();
    let line = line.lines().next().unwrap();
    let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
    let mut write = |name: &str, field: &str, value: serde_json::Value| {
        let before = row[field].take();
        row[field] = value;
        std::fs::write(at(name), format!("{row}\n")).unwrap();
        row[field] = before;
    };
    write("unweighted.jsonl", "weight", serde_json::Value::Null);
    write("negative.jsonl", "weight", serde_json::json!(-1.0));
    write("zero.jsonl", "weight", serde_json::json!(0.0));
    write("alone.jsonl", "rejected", serde_json::Value::Null);
    write("mixed.jsonl", "rejected", serde_json::json!("no"));
    write("dev.jsonl", "split", serde_json::json!("dev"));
    std::fs::write(at("empty.jsonl"), "").unwrap();
    std::fs::write(at("malformed.jsonl"), "{\"prompt\": ").unwrap();
    std::fs::write(at("pairs.txt"), "one").unwrap();
    std::fs::write(
        at("config.toml"),
        "learning_rate = 1e-5\nlearningrate = 2\n",
    )
    .unwrap();
    std::fs::write(at("wrong.toml"), "learning_rate = \"fast\"\n").unwrap();
    let both = "batch_size = 8\nbatch_tokens = 4096\n";
    std::fs::write(at("both.toml"), both).unwrap();
    std::fs::write(at("dpo.toml"), "method = \"dpo\"\n").unwrap();
    let config = std::fs::read(models.join("llama/model/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["quantization_config"] = serde_json::json!({"quant_method": "fp8"});
    std::fs::create_dir(at("fp8")).unwrap();
    std::fs::write(at("fp8/config.json"), config.to_string()).unwrap();
    // A model without a chat template, and one whose generation prompt differs from the text before a response.
    for (name, template) in [
        ("without_template", None),
        ("wrong_template", Some("{{ messages[0]['content'] }}")),
    ] {
        std::fs::create_dir(at(name)).unwrap();
        for file in std::fs::read_dir(models.join("llama/model")).unwrap() {
            let file = file.unwrap();
            if file.file_name() != "chat_template.jinja" {
                std::os::unix::fs::symlink(file.path(), at(name).join(file.file_name())).unwrap();
            }
        }
        if let Some(template) = template {
            std::fs::write(at(name).join("chat_template.jinja"), template).unwrap();
        }
    }
    folder
}

/// Runs `train METHOD` with a model, a dataset and more flags; all must fail.
fn errors(commands: &[(&str, &str, &str, &[&str])]) -> String {
    let folder = fixtures();
    let mut transcript = Transcript::of(&folder);
    for (method, model, data, more) in commands {
        let arguments = [
            "train", method, "--model", model, "--data", data, "--out", "out",
        ];
        transcript.run(&[&arguments[..], more].concat());
    }
    transcript.text
}

#[test]
fn errors_of_models_and_adapters() {
    insta::assert_snapshot!(errors(&[
        ("ddpo", "gone", "pairs.jsonl", &[]),
        ("ddpo", "encoder", "pairs.jsonl", &[]),
        ("ddpo", "without_template", "pairs.jsonl", &[]),
        ("ddpo", "wrong_template", "pairs.jsonl", &[]),
        ("ddpo", "fp8", "pairs.jsonl", &[]),
        ("ddpo", "llama", "pairs.jsonl", &["--adapter", "of_mistral"]),
        ("ddpo", "llama", "pairs.jsonl", &["--adapter", "gone"]),
        ("ddpo", "llama", "pairs.jsonl", &["--reference", "gone"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--adapter", "adapter", "--lora-r", "64"],
        ),
        ("ddpo", "llama", "pairs.jsonl", &["--target-modules", "qkv"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--target-modules", "q_proj,vproj"],
        ),
        ("ddpo", "llama", "pairs.jsonl", &["--device", "cuda:0"]),
        ("ddpo", "llama", "pairs.jsonl", &["--device", "cuda:0:f16"]),
    ]));
}

#[test]
fn errors_of_datasets() {
    insta::assert_snapshot!(errors(&[
        ("ddpo", "llama", "gone.jsonl", &[]),
        ("ddpo", "llama", "empty.jsonl", &[]),
        ("ddpo", "llama", "malformed.jsonl", &[]),
        ("ddpo", "llama", "pairs.txt", &[]),
        ("ddpo", "llama", "unweighted.jsonl", &[]),
        ("ddpo", "llama", "negative.jsonl", &[]),
        ("ddpo", "llama", "zero.jsonl", &[]),
        ("dpo", "llama", "alone.jsonl", &[]),
        ("dpo", "llama", "mixed.jsonl", &[]),
        ("dpo", "llama", "dev.jsonl", &[]),
        ("reward", "llama", "pairs.jsonl", &[]),
        ("ddpo", "llama", "pairs.jsonl", &["--max-length", "100"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--reference-logps", "pairs.txt"],
        ),
    ]));
}

#[test]
fn errors_of_options() {
    insta::assert_snapshot!(errors(&[
        ("ppo", "llama", "pairs.jsonl", &[]),
        ("ddpo", "llama", "pairs.jsonl", &["--loss-type", "sigmod"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--loss-type", "hinge", "--label-smoothing", "0.1"],
        ),
        ("ddpo", "llama", "pairs.jsonl", &["--batch-size", "0"]),
        ("ddpo", "llama", "pairs.jsonl", &["--beta", "-1"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--label-smoothing", "0.5"]
        ),
        ("ddpo", "llama", "pairs.jsonl", &["--sft-weight", "-0.5"]),
        ("ddpo", "llama", "pairs.jsonl", &["--watch", "0"]),
        ("ddpo", "llama", "pairs.jsonl", &["--watch", "9"]),
        (
            "ddpo",
            "llama",
            "pairs.jsonl",
            &["--watch", "9", "--watch-semantic", "builtin:nothing"],
        ),
        ("orpo", "llama", "pairs.jsonl", &["--sft-weight", "0.5"]),
        (
            "dorpo",
            "llama",
            "pairs.jsonl",
            &["--per-device-train-batch-size", "2"],
        ),
        (
            "dorpo",
            "llama",
            "pairs.jsonl",
            &[
                "--dorpo-form",
                "reference",
                "--per-device-train-batch-size",
                "5",
            ],
        ),
        ("ddpo", "llama", "pairs.jsonl", &["--config", "config.toml"]),
        ("ddpo", "llama", "pairs.jsonl", &["--config", "wrong.toml"]),
        ("ddpo", "llama", "pairs.jsonl", &["--config", "both.toml"]),
        ("ddpo", "llama", "pairs.jsonl", &["--config", "dpo.toml"]),
    ]));
}

#[test]
fn errors_of_missing_options_non_finite_losses_and_locked_folders() {
    let folder = fixtures();
    let mut transcript = Transcript::of(&folder);
    transcript.run(&["train", "dpo", "--model", "llama"]);
    let diverging = [
        "train",
        "dpo",
        "--model",
        "llama",
        "--data",
        "pairs.jsonl",
        "--out",
        "out",
        "--learning-rate",
        "1e30",
        "--max-grad-norm",
        "0",
        "--adapter",
        "adapter",
        "--max-steps",
        "3",
        "--lr-scheduler-type",
        "constant",
    ];
    transcript.run(&diverging);
    let mut lock = std::fs::File::create(folder.path().join("out/lock")).unwrap();
    write!(lock, "{}", std::process::id()).unwrap();
    lock.lock().unwrap();
    transcript.run(&diverging);
    insta::assert_snapshot!(transcript.text);
}
