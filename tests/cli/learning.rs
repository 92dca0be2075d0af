//! What does `train` say, and what does it refuse?

use std::io::Write as _;
use std::path::Path;

use super::{Transcript, printed};

#[test]
fn help_of_train() {
    insta::assert_snapshot!(printed(&[&["train", "--help"]]));
}

/// A folder with models, adapters, pairs and configs, most of them wrong.
fn to_learn_from() -> tempfile::TempDir {
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
    write("alone.jsonl", "rejected", serde_json::Value::Null);
    write("mixed.jsonl", "rejected", serde_json::json!("no"));
    write("dev.jsonl", "split", serde_json::json!("dev"));
    std::fs::write(at("empty.jsonl"), "").unwrap();
    std::fs::write(at("odd.jsonl"), "{\"prompt\": ").unwrap();
    std::fs::write(at("pairs.txt"), "one").unwrap();
    std::fs::write(
        at("config.toml"),
        "learning_rate = 1e-5\nlearningrate = 2\n",
    )
    .unwrap();
    std::fs::write(at("wrong.toml"), "learning_rate = \"fast\"\n").unwrap();
    let both = "batch_pairs = 8\nbatch_tokens = 4096\n";
    std::fs::write(at("both.toml"), both).unwrap();
    std::fs::write(at("dpo.toml"), "method = \"dpo\"\n").unwrap();
    let config = std::fs::read(models.join("llama/model/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["quantization_config"] = serde_json::json!({"quant_method": "fp8"});
    std::fs::create_dir(at("fp8")).unwrap();
    std::fs::write(at("fp8/config.json"), config.to_string()).unwrap();
    // A model whose template does not write before an answer what begins one, and one without any.
    for (name, template) in [
        ("mute", None),
        ("broken", Some("{{ messages[0]['content'] }}")),
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

#[test]
fn training_that_cannot_be_done() {
    let folder = to_learn_from();
    let mut said = Transcript::of(&folder);
    let mut train = |method: &str, model: &str, pairs: &str, more: &[&str]| {
        let words = [
            "train", method, "--model", model, "--pairs", pairs, "--out", "out",
        ];
        said.run(&[&words[..], more].concat());
    };
    train("ppo", "llama", "pairs.jsonl", &[]);
    train("ddpo", "gone", "pairs.jsonl", &[]);
    train("ddpo", "encoder", "pairs.jsonl", &[]);
    train("ddpo", "mute", "pairs.jsonl", &[]);
    train("ddpo", "broken", "pairs.jsonl", &[]);
    train("ddpo", "llama", "gone.jsonl", &[]);
    train("ddpo", "llama", "empty.jsonl", &[]);
    train("ddpo", "llama", "odd.jsonl", &[]);
    train("ddpo", "llama", "pairs.txt", &[]);
    train("ddpo", "llama", "unweighted.jsonl", &[]);
    train("ddpo", "llama", "negative.jsonl", &[]);
    train("dpo", "llama", "alone.jsonl", &[]);
    train("dpo", "llama", "mixed.jsonl", &[]);
    train("dpo", "llama", "dev.jsonl", &[]);
    train("reward", "llama", "pairs.jsonl", &[]);
    train("ddpo", "llama", "pairs.jsonl", &["--max-length", "100"]);
    train("ddpo", "llama", "pairs.jsonl", &["--adapter", "of_mistral"]);
    train("ddpo", "llama", "pairs.jsonl", &["--adapter", "gone"]);
    train("ddpo", "llama", "pairs.jsonl", &["--reference", "gone"]);
    train("ddpo", "llama", "pairs.jsonl", &["--target-modules", "qkv"]);
    let modules = ["--target-modules", "q_proj,vproj"];
    train("ddpo", "llama", "pairs.jsonl", &modules);
    let rank = ["--adapter", "adapter", "--lora-r", "64"];
    train("ddpo", "llama", "pairs.jsonl", &rank);
    train("ddpo", "llama", "pairs.jsonl", &["--loss", "sigmod"]);
    let smooth = ["--loss", "hinge", "--label-smoothing", "0.1"];
    train("ddpo", "llama", "pairs.jsonl", &smooth);
    train("ddpo", "llama", "pairs.jsonl", &["--batch-pairs", "0"]);
    train("ddpo", "llama", "pairs.jsonl", &["--beta", "-1"]);
    train(
        "ddpo",
        "llama",
        "pairs.jsonl",
        &["--label-smoothing", "0.5"],
    );
    train("ddpo", "llama", "pairs.jsonl", &["--config", "config.toml"]);
    train("ddpo", "llama", "pairs.jsonl", &["--config", "wrong.toml"]);
    train("ddpo", "llama", "pairs.jsonl", &["--config", "both.toml"]);
    train("ddpo", "llama", "pairs.jsonl", &["--config", "dpo.toml"]);
    let logps = ["--reference-logps", "pairs.txt"];
    train("ddpo", "llama", "pairs.jsonl", &logps);
    train("ddpo", "fp8", "pairs.jsonl", &[]);
    train("ddpo", "llama", "pairs.jsonl", &["--device", "cuda:0"]);
    train("ddpo", "llama", "pairs.jsonl", &["--device", "cuda:0:f16"]);
    let nan = [
        "--learning-rate",
        "1e30",
        "--max-grad-norm",
        "0",
        "--adapter",
        "adapter",
        "--steps",
        "3",
        "--schedule",
        "constant",
    ];
    train("dpo", "llama", "pairs.jsonl", &nan);
    said.run(&["train", "dpo", "--model", "llama"]);
    let mut lock = std::fs::File::create(folder.path().join("out/lock")).unwrap();
    write!(lock, "{}", std::process::id()).unwrap();
    lock.lock().unwrap();
    let again = [
        "train",
        "dpo",
        "--model",
        "llama",
        "--pairs",
        "pairs.jsonl",
        "--out",
        "out",
    ];
    said.run(&[&again[..], &nan].concat());
    insta::assert_snapshot!(said.text);
}
