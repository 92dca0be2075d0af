//! What does the program say? Help, and one line for every way to use it wrongly.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Command lines and what they printed: the exit code, then stdout, then stderr.
struct Transcript {
    folder: PathBuf,
    text: String,
}

impl Transcript {
    fn of(folder: &tempfile::TempDir) -> Self {
        Self {
            folder: folder.path().to_path_buf(),
            text: String::new(),
        }
    }

    fn run(&mut self, words: &[&str]) {
        let output = polyphony(&self.folder).args(words).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let _ = writeln!(
            self.text,
            "$ polyphony {}\nexit {}\n{}{}",
            words.join(" "),
            output.status.code().unwrap(),
            said(&output.stdout),
            said(&output.stderr).replace(&std::process::id().to_string(), "[PID]")
        );
    }
}

fn polyphony(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polyphony"));
    command.current_dir(folder).env_clear();
    command
}

/// A folder with a small store.
fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(root.join("data"), folder.path().join("data")).unwrap();
    let made = polyphony(folder.path())
        .args(["ingest", "data", "--store", "store"])
        .output();
    assert!(made.unwrap().status.success());
    folder
}

#[test]
fn help_shows_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_embed() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["embed", "--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_ingest() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["ingest", "--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["pairs", "--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_sql() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["sql", "--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn sources_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    said.run(&["ingest", "gone.zst", "--store", "s"]);
    std::fs::write(at("empty.jsonl"), "").unwrap();
    said.run(&["ingest", "empty.jsonl", "--store", "s"]);
    std::fs::write(at("RC_2019-01.zst"), "not zstd").unwrap();
    said.run(&["ingest", "RC_2019-01.zst", "--store", "s"]);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("folder/notes.txt"), "x").unwrap();
    said.run(&["ingest", "folder", "--store", "s"]);
    said.run(&["ingest", "folder/notes.txt", "--store", "s"]);
    std::fs::write(at("odd.jsonl"), "{\"a\": 1, \"b\": 2}\n").unwrap();
    said.run(&["ingest", "odd.jsonl", "--store", "s"]);
    let columns = "prompt=a,response=b,score=votes";
    said.run(&["ingest", "odd.jsonl", "--store", "s", "--columns", columns]);
    said.run(&[
        "ingest",
        "odd.jsonl",
        "--store",
        "s",
        "--columns",
        "story=b",
    ]);
    std::fs::write(at("odd.parquet"), "PAR0").unwrap();
    said.run(&["ingest", "odd.parquet", "--store", "s"]);
    said.run(&["ingest", "hub:nobody", "--store", "s"]);
    assert!(!at("s").exists(), "a refused source leaves nothing behind");
    insta::assert_snapshot!(said.text);
}

#[test]
fn stores_that_cannot_be_used() {
    let folder = store();
    let mut said = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    said.run(&["sql", "--store", "gone", "-c", "SELECT 1"]);
    said.run(&["pairs", "--store", "gone"]);
    std::fs::create_dir(at("newer")).unwrap();
    std::fs::write(at("newer/manifest.json"), "{\"format\": 2}").unwrap();
    said.run(&["sql", "--store", "newer", "-c", "SELECT 1"]);
    said.run(&["ingest", "data", "--store", "newer"]);
    std::fs::write(at("file"), "x").unwrap();
    said.run(&["ingest", "data", "--store", "file"]);
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other/thesis.txt"), "x").unwrap();
    said.run(&["ingest", "data", "--store", "other"]);
    let mut lock = std::fs::File::create(at("store/lock")).unwrap();
    write!(lock, "{}", std::process::id()).unwrap();
    lock.lock().unwrap();
    said.run(&["ingest", "data", "--store", "store"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn options_that_cannot_be_used() {
    let folder = store();
    let mut said = Transcript::of(&folder);
    said.run(&["ingest", "data"]);
    said.run(&["pairs", "--store", "store", "--strategy", "best"]);
    said.run(&["pairs", "--store", "store", "--semantic", "builtin:meaning"]);
    said.run(&["pairs", "--store", "store", "--rho", "0.9"]);
    said.run(&["pairs", "--store", "store", "--best-first"]);
    said.run(&["pairs", "--store", "store", "--tokenizer", "gone.json"]);
    said.run(&["pairs", "--store", "store", "--min-votes", "100000"]);
    said.run(&["pairs", "--store", "store", "--sql", "data"]);
    said.run(&["pairs", "--store", "store", "--deviation", "lexical"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn embeddings_that_cannot_be_made() {
    let folder = store();
    let mut said = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tiny = root.join("tests/fixtures/models/minilm_bert/model");
    std::os::unix::fs::symlink(tiny, at("tiny")).unwrap();
    std::fs::write(at("texts.csv"), "story,votes\none,1\n").unwrap();
    said.run(&["embed"]);
    said.run(&["embed", "texts.csv", "--model", "tiny"]);
    said.run(&["embed", "--store", "gone", "--model", "tiny"]);
    said.run(&["embed", "--store", "store", "--model", "builtin:meaning"]);
    said.run(&["embed", "--store", "store", "--model", "gone"]);
    said.run(&["embed", "--store", "store", "--model", "data"]);
    said.run(&["embed", "--store", "store", "--model", "tiny#query"]);
    said.run(&[
        "embed", "--store", "store", "--model", "tiny", "--device", "gpu",
    ]);
    said.run(&[
        "embed", "--store", "store", "--model", "tiny", "--device", "cuda:0",
    ]);
    let mut file = |file: &str, column: &str, out: &str| {
        said.run(&[
            "embed", file, "--column", column, "--model", "tiny", "--out", out,
        ]);
    };
    file("gone.csv", "story", "o.parquet");
    file("texts.csv", "text", "o.parquet");
    file("texts.csv", "votes", "o.parquet");
    file("texts.csv", "story", "o.csv");
    std::fs::write(at("empty.csv"), "").unwrap();
    file("empty.csv", "story", "o.parquet");
    std::fs::write(at("head.csv"), "story,votes\n").unwrap();
    file("head.csv", "story", "o.parquet");
    std::fs::write(at("no.parquet"), "PAR1 it is not").unwrap();
    file("no.parquet", "story", "o.parquet");
    std::fs::write(at("odd.jsonl"), "{\"story\": \"one\"}\n{\"story\": ").unwrap();
    file("odd.jsonl", "story", "o.parquet");
    std::fs::write(at("texts.txt"), "one").unwrap();
    file("texts.txt", "story", "o.parquet");
    file("texts.csv", "story", "first.parquet");
    file("first.parquet", "story", "o.parquet");
    assert!(
        !at("o.parquet").exists(),
        "a refused file leaves nothing behind"
    );
    assert!(
        !at("o.parts").exists(),
        "a refused file leaves nothing behind"
    );
    said.text = said
        .text
        .lines()
        .filter(|line| !line.starts_with("embedded "))
        .fold(String::new(), |text, line| text + line + "\n");
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_train() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["train", "--help"]);
    insta::assert_snapshot!(said.text);
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

#[test]
fn help_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["eval", "--help"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn evaluations_that_cannot_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let row = |model: &str, text: &str, score: &str| {
        format!("{{\"model\":\"{model}\",\"prompt_id\":1,\"response\":\"{text}\",\"{score}\":1}}\n")
    };
    write("a.jsonl", &row("m", "one", "score"));
    write("b.jsonl", &row("m", "two", "score"));
    write("c.jsonl", &row("n", "two", "reddit_reward"));
    write("copy.jsonl", &row("m", "one", "score"));
    write("empty.jsonl", "");
    write("other.jsonl", "{\"x\":1}\n");
    write("noise.jsonl", "what\n");
    write("cut.csv", "model,prompt_id,response\nm,1,\"one");
    write("no.parquet", "PAR1");
    for words in [
        &["absent.jsonl"][..],
        &["empty.jsonl"],
        &["other.jsonl"],
        &["noise.jsonl"],
        &["no.parquet"],
        &["cut.csv"],
        &["a.jsonl", "b.jsonl"],
        &["a.jsonl", "copy.jsonl"],
        &["a.jsonl", "c.jsonl"],
        &["a.jsonl", "--semantic", "builtin:nothing"],
        &["a.jsonl", "--semantic", "column:nothing"],
        &["a.jsonl", "--reward", "column:nothing"],
        &["a.jsonl", "--reward", "absent"],
        &["a.jsonl", "--columns", "story=x"],
        &["a.jsonl", "--columns", "response=x"],
        &["a.jsonl", "--gold", "absent"],
        &["a.jsonl", "--gold", "other.jsonl"],
        &["a.jsonl", "--k", "0"],
        &["a.jsonl", "--device", "tpu"],
        &["a.jsonl", "--replicates", "1"],
        &[],
    ] {
        said.run(&[&["eval"], words, &["--out", "report"]].concat());
    }
    insta::assert_snapshot!(said.text);
}

#[test]
fn help_of_generate() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    said.run(&["generate", "--help"]);
    insta::assert_snapshot!(said.text);
}

/// What `generate` refuses.
const UNWRITABLE: [&[&str]; 17] = [
    &["--model", "absent", "--prompts", "prompts.jsonl"],
    &["--model", "encoder", "--prompts", "prompts.jsonl"],
    &["--model", "llama", "--prompts", "absent.jsonl"],
    &["--model", "llama", "--prompts", "empty.jsonl"],
    &["--model", "llama", "--prompts", "other.jsonl"],
    &["--model", "llama", "--prompts", "noise.jsonl"],
    &["--model", "llama", "--prompts", "long.jsonl"],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--split",
        "train",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--skip",
        "1",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--adapter",
        "absent",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--adapter",
        "of_mistral",
    ],
    &["--model", "llama", "--prompts", "prompts.jsonl", "--live"],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--top-p",
        "2",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--temperature",
        "-1",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--samples",
        "0",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--device",
        "cuda:0",
    ],
    &[
        "--model",
        "llama",
        "--prompts",
        "prompts.jsonl",
        "--out",
        "there.jsonl",
    ],
];

#[test]
fn texts_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Transcript::of(&folder);
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for (name, target) in [
        ("llama", "llama/model"),
        ("encoder", "minilm_bert/model"),
        ("of_mistral", "mistral/adapter"),
    ] {
        std::os::unix::fs::symlink(models.join(target), folder.path().join(name)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "prompts.jsonl",
        "{\"prompt\":\"A king melts.\",\"split\":\"test\"}\n",
    );
    write("other.jsonl", "{\"x\":1}\n");
    write("noise.jsonl", "what\n");
    write("empty.jsonl", "");
    write("there.jsonl", "mine\n");
    let long = "word ".repeat(20_000);
    write(
        "long.jsonl",
        &format!("{{\"prompt\":\"{long}\",\"prompt_id\":7}}\n"),
    );
    for words in UNWRITABLE {
        let out: &[&str] = if words.contains(&"--out") {
            &[]
        } else {
            &["--out", "out.jsonl"]
        };
        said.run(&[&["generate"], words, out].concat());
    }
    assert!(!folder.path().join("out.jsonl").exists(), "{}", said.text);
    insta::assert_snapshot!(said.text);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let script = format!(
        "set -o pipefail; {} sql --format csv -c 'SELECT * FROM generate_series(1, 1000000)' | head -1",
        env!("CARGO_BIN_EXE_polyphony")
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "value\n");
}

#[test]
fn sql_that_cannot_be_run() {
    let folder = store();
    let mut said = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    said.run(&["sql", "--store", "store", "-c", "SELECT * FROM nope"]);
    said.run(&["sql", "--store", "store", "-c", "SELEC 1"]);
    std::fs::write(
        at("two.sql"),
        "SELECT 1 AS one;\nSELECT score + FROM responses;",
    )
    .unwrap();
    said.run(&["sql", "--store", "store", "-f", "two.sql"]);
    std::fs::write(
        at("two.sql"),
        "-- a comment\nSELECT 1 AS one;\nSELECT nope FROM responses;",
    )
    .unwrap();
    said.run(&["sql", "--store", "store", "-f", "two.sql"]);
    said.run(&["sql", "--store", "store", "-f", "gone.sql"]);
    std::fs::create_dir(at("mine")).unwrap();
    std::fs::write(at("mine/10_candidates.sql"), "SELECT 1").unwrap();
    said.run(&["pairs", "--store", "store", "--sql", "mine"]);
    std::fs::write(
        at("mine/10_candidates.sql"),
        "-- reads: responses\n-- writes: candidates\nSELECT nope FROM responses",
    )
    .unwrap();
    said.run(&["pairs", "--store", "store", "--sql", "mine"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn a_query_prints_data_and_nothing_else() {
    let folder = store();
    let mut said = Transcript::of(&folder);
    let query = "SELECT tag, count(*) AS prompts FROM prompts GROUP BY tag ORDER BY tag";
    said.run(&["sql", "--store", "store", "-c", query, "--format", "csv"]);
    let functions = "SELECT DISTINCT routine_name AS name, syntax_example AS call \
        FROM information_schema.routines \
        WHERE routine_name IN ('deviation', 'embed', 'pairs_by_gap', 'token_count') ORDER BY name";
    said.run(&["sql", "-c", functions, "--format", "csv"]);
    insta::assert_snapshot!(said.text);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on the size of files stands in for the disk's end.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec {} ingest {} --store s",
        env!("CARGO_BIN_EXE_polyphony"),
        root.join("data").display()
    );
    let output = Command::new("bash")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("error: cannot write s/responses/"),
        "{said}"
    );
    let left: Vec<_> = walk(&folder.path().join("s"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "tmp"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    let again = polyphony(folder.path())
        .args([
            "ingest",
            &root.join("data").display().to_string(),
            "--store",
            "s",
        ])
        .output()
        .unwrap();
    assert!(again.status.success());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
