//! Tests of `polyphony experiment` on a tiny model: one report of all runs, nothing done twice, kills, failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polyphony_trainer::tiny_llama::TinyLlama;
use serde_json::Value;

use super::root;
use super::support::{bytes, done, kill_until_done, run, text};

/// Two methods from one SFT adapter, two random seeds each, and a condition that needs no training.
const EXPERIMENT: &str = "
varies = ['method']
seeds = [1, 2]
[train]
max_length = 128
overlength = 'truncate'
target_modules = 'all-linear'
lora_r = 4
lora_alpha = 8
batch_size = 4
learning_rate = 1e-3
max_steps = 3
[train.sft]
warmup_steps = 0
[generate]
samples = 3
limit = 4
split = 'train'
max_tokens = 24
[eval]
bootstrap_samples = 100
permutations = 99
[reward]
max_length = 128
overlength = 'truncate'
lora_r = 4
max_steps = 2
[[condition]]
name = 'base'
seeds = [1]
[[condition]]
name = 'sft'
method = 'sft'
seeds = [1]
[[condition]]
name = 'dpo'
method = 'dpo'
adapter = 'sft'
[[condition]]
name = 'ddpo'
method = 'ddpo'
adapter = 'sft'
";

/// Writes the experiment and its model; returns its file.
fn written(folder: &Path, change: impl Fn(&str) -> String) -> PathBuf {
    let model = TinyLlama {
        hidden_size: 16,
        num_layers: 1,
        num_heads: 2,
        seed: 7,
    };
    model.write(&folder.join("tiny")).unwrap();
    let head = format!(
        "model = '{}'\ningest.sources = ['{}']\n",
        folder.join("tiny").display(),
        root().join("data").display()
    );
    let file = folder.join("main.toml");
    fs::write(&file, change(&(head + EXPERIMENT))).unwrap();
    file
}

/// The files of an experiment that do not have times in them.
fn results(out: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = bytes(out);
    files.retain(|path, _| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let has_time = [
            "experiment.json",
            "README.md",
            "metrics.jsonl",
            "metrics.jsonl.checksums",
            "token_metrics.json",
        ];
        !has_time.contains(&name.as_str()) && !path.starts_with("store")
    });
    files
}

#[test]
fn an_experiment_ends_in_one_report_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), str::to_owned);
    let out = folder.path().join("out");
    let words = ["experiment", text(&file), "--out", text(&out)];
    let printed = done(&words);
    assert!(printed.contains("report"), "{printed}");
    let report: Value =
        serde_json::from_slice(&fs::read(out.join("report/report.json")).unwrap()).unwrap();
    let models: Vec<&str> = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    for name in ["base", "sft", "dpo", "ddpo"] {
        assert!(models.contains(&name), "{models:?}");
    }
    // Pairs are made once, and one reference serves both methods and all random seeds.
    let files = |name: &str| fs::read_dir(out.join(name)).unwrap().count();
    assert_eq!(files("reference"), 1);
    let names = |name: &str| {
        let entries = fs::read_dir(out.join(name)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<String>>()
    };
    let pairs = names("pairs");
    assert!(
        pairs.contains("dpo.parquet") && pairs.contains("dpo.sft.parquet"),
        "{pairs:?}"
    );
    assert!(
        pairs.iter().all(|name| name.starts_with("dpo.")),
        "{pairs:?}"
    );
    assert_eq!(
        files("outputs"),
        18,
        "outputs of six runs, their manifests and checksums"
    );
    let before = bytes(&out);
    done(&words);
    assert_eq!(bytes(&out), before);

    // Another seed adds runs, and no other run is touched.
    let more = fs::read_to_string(&file)
        .unwrap()
        .replace("seeds = [1, 2]", "seeds = [1, 2, 3]");
    fs::write(&file, more).unwrap();
    let output = run(&words);
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        log.contains("train dpo@3") && log.contains("] report"),
        "{log}"
    );
    assert!(
        !log.contains("train dpo@1") && !log.contains("] ingest"),
        "{log}"
    );

    // An output that someone changed is named, not used.
    let damaged = out.join("outputs/dpo@1.jsonl");
    fs::write(&damaged, "{}\n").unwrap();
    let output = run(&words);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        log.contains("dpo@1.jsonl: changed since `generate dpo@1` wrote it"),
        "{log}"
    );
}

#[test]
fn a_killed_experiment_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), str::to_owned);
    let (whole, killed) = (folder.path().join("a"), folder.path().join("b"));
    done(&["experiment", text(&file), "--out", text(&whole)]);
    let words: Vec<String> = ["experiment", text(&file), "--out", text(&killed)]
        .map(str::to_owned)
        .to_vec();
    let kills = kill_until_done(
        &words,
        Duration::from_millis(900),
        Duration::from_millis(700),
    );
    assert!(kills > 2, "{kills}");
    let (whole, killed) = (results(&whole), results(&killed));
    let names: Vec<&PathBuf> = whole.keys().collect();
    assert_eq!(names, killed.keys().collect::<Vec<_>>());
    for (name, hash) in &whole {
        // Paths of the folder stand in manifests and reports.
        let has_paths = name
            .extension()
            .is_some_and(|kind| ["json", "md", "html", "toml"].contains(&kind.to_str().unwrap()));
        assert!(has_paths || killed[name] == *hash, "{}", name.display());
    }
}

#[test]
fn a_failed_condition_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    // Without truncation every pair is longer than two tokens: nothing is left to train on.
    let file = written(folder.path(), |text| {
        text.replace(
            "varies = ['method']",
            "varies = ['method', 'train.max_length', 'train.overlength']",
        ) + "train.max_length = 2\ntrain.overlength = 'drop'\n"
    });
    let out = folder.path().join("out");
    let output = run(&["experiment", text(&file), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("4 steps failed, the first: generate ddpo@1: needs `train ddpo@1`"),
        "{log}"
    );
    let summary = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        summary.contains("## Missing") && summary.contains("- train ddpo@2: "),
        "{summary}"
    );
    let report = fs::read_to_string(out.join("report/report.json")).unwrap();
    assert!(report.contains("\"dpo\"") && !report.contains("\"ddpo\""));
}
