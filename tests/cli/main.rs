//! Command-line snapshots: help texts, and the one-line error of each kind of misuse.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod experimenting;
mod judging;
mod learning;
mod shell;
mod weighing;
mod writing;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A transcript of commands: each command line with its exit code, stdout and stderr.
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

    /// Runs `polyphony` and appends command line, exit code and output.
    fn run(&mut self, words: &[&str]) {
        let output = polyphony(&self.folder).args(words).output().unwrap();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let _ = writeln!(
            self.text,
            "$ polyphony {}\nexit {}\n{}{}",
            words.join(" "),
            output.status.code().unwrap(),
            lossy(&output.stdout),
            lossy(&output.stderr).replace(&std::process::id().to_string(), "[PID]")
        );
    }
}

/// The transcript of commands that need no files.
fn printed(commands: &[&[&str]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    for words in commands {
        transcript.run(words);
    }
    transcript.text
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

/// The program with an empty environment and this working directory.
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
    // Without a command the help goes to stderr.
    insta::assert_snapshot!(printed(&[&["--help"], &[]]));
}

#[test]
fn help_of_embed() {
    insta::assert_snapshot!(printed(&[&["embed", "--help"]]));
}

#[test]
fn help_of_ingest() {
    insta::assert_snapshot!(printed(&[&["ingest", "--help"]]));
}

#[test]
fn help_of_pairs() {
    insta::assert_snapshot!(printed(&[&["pairs", "--help"]]));
}

#[test]
fn help_of_sql() {
    insta::assert_snapshot!(printed(&[&["sql", "--help"]]));
}

#[test]
fn sources_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    transcript.run(&["ingest", "gone.zst", "--store", "s"]);
    std::fs::write(at("empty.jsonl"), "").unwrap();
    transcript.run(&["ingest", "empty.jsonl", "--store", "s"]);
    std::fs::write(at("RC_2019-01.zst"), "not zstd").unwrap();
    transcript.run(&["ingest", "RC_2019-01.zst", "--store", "s"]);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("folder/notes.txt"), "x").unwrap();
    transcript.run(&["ingest", "folder", "--store", "s"]);
    transcript.run(&["ingest", "folder/notes.txt", "--store", "s"]);
    std::fs::write(at("odd.jsonl"), "{\"a\": 1, \"b\": 2}\n").unwrap();
    transcript.run(&["ingest", "odd.jsonl", "--store", "s"]);
    let columns = "prompt=a,response=b,score=votes";
    transcript.run(&["ingest", "odd.jsonl", "--store", "s", "--columns", columns]);
    transcript.run(&[
        "ingest",
        "odd.jsonl",
        "--store",
        "s",
        "--columns",
        "story=b",
    ]);
    std::fs::write(at("cut.jsonl"), "{\"a\": \"A door.\", \"b\": \"It op").unwrap();
    transcript.run(&["ingest", "cut.jsonl", "--store", "s", "--columns", columns]);
    transcript.run(&["ingest", "cut.jsonl", "--store", "s"]);
    std::fs::write(at("latin1.csv"), b"a,b,votes\nA caf\xe9.,It closed.,3\n").unwrap();
    transcript.run(&["ingest", "latin1.csv", "--store", "s", "--columns", columns]);
    std::fs::write(at("folder/licence.json"), "{\"licence\": \"CC BY\"}").unwrap();
    transcript.run(&["ingest", "folder", "--store", "s"]);
    std::fs::write(at("odd.parquet"), "PAR0").unwrap();
    transcript.run(&["ingest", "odd.parquet", "--store", "s"]);
    transcript.run(&["ingest", "hub:nobody", "--store", "s"]);
    assert!(!at("s").exists(), "a refused source leaves nothing behind");
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn stores_that_cannot_be_used() {
    let folder = store();
    let mut transcript = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    transcript.run(&["sql", "--store", "gone", "-c", "SELECT 1"]);
    transcript.run(&["pairs", "--store", "gone"]);
    std::fs::create_dir(at("newer")).unwrap();
    std::fs::write(at("newer/manifest.json"), "{\"format\": 3}").unwrap();
    transcript.run(&["sql", "--store", "newer", "-c", "SELECT 1"]);
    transcript.run(&["ingest", "data", "--store", "newer"]);
    std::fs::write(at("file"), "x").unwrap();
    transcript.run(&["ingest", "data", "--store", "file"]);
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other/thesis.txt"), "x").unwrap();
    transcript.run(&["ingest", "data", "--store", "other"]);
    let mut lock = std::fs::File::create(at("store/lock")).unwrap();
    write!(lock, "{}", std::process::id()).unwrap();
    lock.lock().unwrap();
    transcript.run(&["ingest", "data", "--store", "store"]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn options_that_cannot_be_used() {
    let folder = store();
    let mut transcript = Transcript::of(&folder);
    transcript.run(&["pair"]);
    transcript.run(&["sql", "--formt", "csv"]);
    transcript.run(&["sql", "--format", "xml"]);
    transcript.run(&["sql", "--log", "loud"]);
    transcript.run(&["ingest", "data"]);
    transcript.run(&["pairs", "--store", "store", "--strategy", "best"]);
    transcript.run(&["pairs", "--store", "store", "--semantic", "builtin:meaning"]);
    transcript.run(&["pairs", "--store", "store", "--rho", "0.9"]);
    transcript.run(&["pairs", "--store", "store", "--gap", "-1"]);
    transcript.run(&["pairs", "--store", "store", "--best-winners"]);
    let pairs = ["pairs", "--store", "store"];
    for words in [
        "--strategy ratio --max-pairs 2 --best-winners",
        "--strategy marginal --epsilon -1",
        "--strategy marginal --n-cap 0",
        "--strategy marginal --top-quantile 0",
        "--strategy marginal --deviation none",
        "--select dpp",
        "--max-responses 4 --select first",
        "--max-responses 4 --select dpp --deviation none",
        "--sft sft.jsonl",
        "--sft a.parquet --out a.parquet",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        transcript.run(&[&pairs[..], &words].concat());
    }
    transcript.run(&["pairs", "--store", "store", "--tokenizer", "gone.json"]);
    transcript.run(&["pairs", "--store", "store", "--min-votes", "100000"]);
    transcript.run(&["pairs", "--store", "store", "--sql", "data"]);
    transcript.run(&["pairs", "--store", "store", "--deviation", "lexical"]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn embeddings_that_cannot_be_made() {
    let folder = store();
    let mut transcript = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tiny = root.join("tests/fixtures/models/minilm_bert/model");
    std::os::unix::fs::symlink(tiny, at("tiny")).unwrap();
    std::fs::write(at("texts.csv"), "story,votes\none,1\n").unwrap();
    transcript.run(&["embed"]);
    transcript.run(&["embed", "texts.csv", "--model", "tiny"]);
    transcript.run(&["embed", "--store", "gone", "--model", "tiny"]);
    transcript.run(&["embed", "--store", "store", "--model", "builtin:meaning"]);
    transcript.run(&["embed", "--store", "store", "--model", "gone"]);
    transcript.run(&["embed", "--store", "store", "--model", "data"]);
    transcript.run(&["embed", "--store", "store", "--model", "tiny#query"]);
    transcript.run(&[
        "embed", "--store", "store", "--model", "tiny", "--device", "gpu",
    ]);
    for device in ["cuda:0", "cuda:0,cuda:1:f16", "cpu,cuda:0"] {
        transcript.run(&[
            "embed", "--store", "store", "--model", "tiny", "--device", device,
        ]);
    }
    transcript.run(&[
        "embed",
        "--store",
        "store",
        "--model",
        "tiny",
        "--long-texts",
        "middle",
    ]);
    let mut file = |file: &str, column: &str, out: &str| {
        transcript.run(&[
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
    transcript.text = transcript
        .text
        .lines()
        .filter(|line| !line.starts_with("embedded "))
        .fold(String::new(), |text, line| text + line + "\n");
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
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
    let mut transcript = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    transcript.run(&["sql", "--store", "store", "-c", "SELECT * FROM nope"]);
    transcript.run(&["sql", "--store", "store", "-c", "SELEC 1"]);
    std::fs::write(
        at("two.sql"),
        "SELECT 1 AS one;\nSELECT score + FROM responses;",
    )
    .unwrap();
    transcript.run(&["sql", "--store", "store", "-f", "two.sql"]);
    std::fs::write(
        at("two.sql"),
        "-- a comment\nSELECT 1 AS one;\nSELECT nope FROM responses;",
    )
    .unwrap();
    transcript.run(&["sql", "--store", "store", "-f", "two.sql"]);
    transcript.run(&["sql", "--store", "store", "-f", "gone.sql"]);
    std::fs::create_dir(at("mine")).unwrap();
    std::fs::write(at("mine/10_candidates.sql"), "SELECT 1").unwrap();
    transcript.run(&["pairs", "--store", "store", "--sql", "mine"]);
    std::fs::write(
        at("mine/10_candidates.sql"),
        "-- reads: responses\n-- writes: candidates\nSELECT nope FROM responses",
    )
    .unwrap();
    transcript.run(&["pairs", "--store", "store", "--sql", "mine"]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn a_query_prints_data_and_nothing_else() {
    let folder = store();
    let mut transcript = Transcript::of(&folder);
    let query = "SELECT tag, count(*) AS prompts FROM prompts GROUP BY tag ORDER BY tag";
    transcript.run(&["sql", "--store", "store", "-c", query, "--format", "csv"]);
    let functions = "SELECT DISTINCT routine_name AS name, syntax_example AS call \
        FROM information_schema.routines \
        WHERE routine_name IN ('deviation', 'embed', 'pairs_by_gap', 'token_count') ORDER BY name";
    transcript.run(&["sql", "-c", functions, "--format", "csv"]);
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn a_full_disk_leaves_no_partial_files() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on file sizes simulates a full disk.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("error: cannot write s/responses/"),
        "{stderr}"
    );
    let partial: Vec<_> = walk(&folder.path().join("s"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "tmp"))
        .collect();
    assert_eq!(partial, Vec::<PathBuf>::new());
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

/// All files below a folder.
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
