//! Faults: a lost manifest, damaged parts, files of the user beside an output, a kill at the end, loops of links.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{bytes, done, dump, polyphony, query, run, text};

/// The files of a folder that end in `.parquet`, sorted.
fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = bytes(folder).into_keys().collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "parquet"));
    files
}

/// A store with pairs and vectors, from a dump of some prompts.
fn store_of(folder: &Path, prompts: usize) -> PathBuf {
    let (dumps, store) = (folder.join("dump"), folder.join("store"));
    dump(&dumps, prompts);
    done(&["ingest", text(&dumps), "--store", text(&store)]);
    done(&["pairs", "--store", text(&store)]);
    store
}

/// The error of a command that must fail with exit code 1 and one line.
fn error_of(words: &[&str]) -> String {
    let output = run(words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{words:?}: {stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error: "));
    error
        .unwrap_or_else(|| unreachable!("{words:?}: {stderr}"))
        .to_owned()
}

#[test]
fn a_lost_manifest_never_leads_to_the_removal_of_parts() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), 20);
    let before = parquet_files(&store);
    let manifest = fs::read(store.join("manifest.json")).unwrap();
    fs::remove_file(store.join("manifest.json")).unwrap();
    let dumps = folder.path().join("dump");
    for words in [
        &["ingest", text(&dumps), "--store", text(&store)][..],
        &["pairs", "--store", text(&store)],
        &["embed", "--store", text(&store), "--model", "builtin:words"],
        &["sql", "--store", text(&store), "-c", "SELECT 1"],
    ] {
        let error = error_of(words);
        assert!(error.contains("restore manifest.json"), "{error}");
        assert_eq!(parquet_files(&store), before, "{words:?}");
    }
    fs::write(store.join("manifest.json"), manifest).unwrap();
    assert_eq!(
        query(&store, "SELECT count(*) AS n FROM prompts"),
        "n\n20\n"
    );
    // A folder of something else, with a lock file as a training run has it, and folders like those of tables.
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("pairs")).unwrap();
    for file in ["lock", "run.json", "pairs/mine.parquet"] {
        fs::write(other.join(file), "mine").unwrap();
    }
    let error = error_of(&["ingest", text(&dumps), "--store", text(&other)]);
    assert!(error.contains("holds other files"), "{error}");
    assert!(other.join("pairs/mine.parquet").exists());
}

#[test]
fn files_that_no_manifest_names_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), 20);
    let mine = [
        "prompts/mine.parquet",
        "responses/mine.parquet.tmp",
        "notes.txt",
    ];
    for file in mine {
        fs::write(store.join(file), "mine").unwrap();
    }
    let more = folder.path().join("more");
    dump(&more, 30);
    done(&["ingest", text(&more), "--store", text(&store)]);
    done(&["pairs", "--store", text(&store), "--gap", "1"]);
    for file in mine {
        assert!(store.join(file).exists(), "{file}");
    }
}

#[test]
fn a_damaged_part_is_named_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), 30);
    let parts = parquet_files(&store);
    let parts = parts.iter().filter(|part| part.components().count() == 2);
    let mut tables = 0;
    for part in parts {
        let path = store.join(part);
        let table = part.parent().unwrap().display();
        let select = format!("SELECT * FROM {table}");
        let content = fs::read(&path).unwrap();
        // In the first values, in the middle, and in the metadata at the end.
        for at in [
            8,
            content.len() / 2,
            content.len() - 200.min(content.len() / 3),
        ] {
            let mut damaged = content.clone();
            damaged[at] ^= 4;
            fs::write(&path, damaged).unwrap();
            let error = error_of(&["sql", "--store", text(&store), "-c", &select]);
            assert!(
                error.contains("is damaged") && error.contains(text(part)),
                "{error}"
            );
        }
        fs::write(&path, &content).unwrap();
        tables += 1;
    }
    assert!(tables > 8, "{tables} parts");
    // Other commands read the parts, too; the pairs are copied.
    let damage = |table: &str| {
        let part = fs::read_dir(store.join(table)).unwrap().next().unwrap();
        let path = part.unwrap().path();
        let content = fs::read(&path).unwrap();
        let mut damaged = content.clone();
        damaged[content.len() / 2] ^= 4;
        fs::write(&path, damaged).unwrap();
        (path, content)
    };
    let (path, content) = damage("pairs");
    let words = ["pairs", "--store", text(&store)];
    let error = error_of(&words);
    assert!(error.contains(text(&path)), "{error}");
    // A part that can be made again is, once it is removed.
    fs::remove_file(&path).unwrap();
    done(&words);
    assert_eq!(fs::read(&path).unwrap(), content);
    let (path, content) = damage("prompts");
    let comments = folder.path().join("dump/RC_2019-01.zst");
    let later = folder.path().join("RC_2019-02.zst");
    let mut more = fs::read(&comments).unwrap();
    more.extend(zstd::encode_all(&b"{}\n"[..], 3).unwrap());
    fs::write(&later, more).unwrap();
    let error = error_of(&["ingest", text(&later), "--store", text(&store)]);
    assert!(error.contains(text(&path)), "{error}");
    fs::write(&path, content).unwrap();
}

#[test]
fn a_damaged_manifest_is_refused_and_one_without_checksum_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), 10);
    let path = store.join("manifest.json");
    let content = fs::read_to_string(&path).unwrap();
    let rows = content.find("\"rows\": ").unwrap() + 8;
    let mut damaged = content.clone().into_bytes();
    damaged[rows] ^= 1;
    fs::write(&path, damaged).unwrap();
    let words = [
        "sql",
        "--store",
        text(&store),
        "-c",
        "SELECT count(*) FROM prompts",
    ];
    let error = error_of(&words);
    assert!(error.contains("manifest.json is damaged"), "{error}");
    // As an earlier version wrote it.
    let (body, _) = content.split_once(",\n  \"checksum\"").unwrap();
    let older = format!("{}\n}}\n", body.replace("\"format\": 4", "\"format\": 3"));
    fs::write(&path, older).unwrap();
    let output = run(&words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("has no checksum and was not verified"),
        "{stderr}"
    );
    done(&["pairs", "--store", text(&store), "--gap", "2"]);
    assert!(
        !String::from_utf8(run(&words).stderr)
            .unwrap()
            .contains("has no checksum")
    );
}

#[test]
fn embed_file_goes_on_from_whatever_a_kill_at_its_end_left() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let texts: String = (0..200)
        .map(|n| format!("Story {n} of a door.\n"))
        .collect();
    fs::write(at("texts.csv"), format!("text\n{texts}")).unwrap();
    let (input, out) = (at("texts.csv"), at("out.parquet"));
    let words = [
        "embed",
        text(&input),
        "--column",
        "text",
        "--model",
        "builtin:words",
        "--shard-size",
        "1",
        "--out",
        text(&out),
    ];
    done(&words);
    let expected = fs::read(&out).unwrap();
    let folder_of_shards = at("out.parts/embedded");
    let mut child = polyphony()
        .args(words)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shards = || fs::read_dir(&folder_of_shards).map_or(0, Iterator::count);
    while shards() < 4 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run was too fast to be killed"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Where the removal of the shards was killed they are gone, wholly or in part, and the manifest names them.
    let first = fs::read_dir(&folder_of_shards).unwrap().next().unwrap();
    fs::remove_file(first.unwrap().path()).unwrap();
    done(&words);
    assert_eq!(fs::read(&out).unwrap(), expected);
    for left in [&["lock"][..], &["lock", "readers"], &["readers"], &[]] {
        fs::create_dir(at("out.parts")).unwrap();
        for file in left {
            fs::write(at("out.parts").join(file), "").unwrap();
        }
        done(&words);
        assert_eq!(fs::read(&out).unwrap(), expected);
        assert!(!at("out.parts").exists());
    }
    // A file of the user's there is not removed.
    fs::create_dir(at("out.parts")).unwrap();
    fs::write(at("out.parts/mine.txt"), "mine").unwrap();
    assert!(error_of(&words).contains("holds other files"));
    assert!(at("out.parts/mine.txt").exists());
}

#[test]
fn nothing_of_the_users_is_replaced_beside_an_output() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = store_of(folder.path(), 10);
    let out = at("votes.parquet");
    let pairs = ["pairs", "--store", text(&store), "--out", text(&out)];
    for mine in ["votes.md", "votes.json"] {
        fs::write(at(mine), "{\"votes\": 3}").unwrap();
        let error = error_of(&pairs);
        assert!(
            error.contains(mine) && error.contains("is there already"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(at(mine)).unwrap(), "{\"votes\": 3}");
        fs::remove_file(at(mine)).unwrap();
    }
    // The files of an earlier run are replaced.
    done(&pairs);
    done(&pairs);
    let dataset = at("dataset");
    fs::create_dir(&dataset).unwrap();
    fs::write(dataset.join("README.md"), "# My data").unwrap();
    let words = [&pairs[..], &["--dataset", text(&dataset)]].concat();
    assert!(error_of(&words).contains("README.md"));
    fs::remove_file(dataset.join("README.md")).unwrap();
    done(&words);
    done(&words);
    // An evaluation beside its own input, and in a folder with a file of the same name.
    let rows: String = (0..4)
        .map(|n| format!("{{\"model\":\"m\",\"prompt\":\"p\",\"response\":\"Story {n}.\"}}\n"))
        .collect();
    fs::write(at("texts.jsonl"), rows).unwrap();
    let input = at("outputs.parquet");
    let copy = format!(
        "COPY (SELECT * FROM '{}') TO '{}'",
        at("texts.jsonl").display(),
        input.display()
    );
    done(&["sql", "-c", &copy]);
    let before = fs::read(&input).unwrap();
    let eval = ["eval", text(&input), "--out", text(folder.path())];
    assert!(error_of(&eval).contains("is an input"));
    fs::create_dir(at("mine")).unwrap();
    fs::copy(&input, at("mine/outputs.parquet")).unwrap();
    let (texts, mine) = (at("texts.jsonl"), at("mine"));
    let eval = ["eval", text(&texts), "--out", text(&mine)];
    assert!(error_of(&eval).contains("is there already"));
    assert_eq!(fs::read(at("mine/outputs.parquet")).unwrap(), before);
    fs::remove_file(at("mine/outputs.parquet")).unwrap();
    fs::write(at("mine/report.md"), "# My report").unwrap();
    assert!(error_of(&eval).contains("report.md"));
    fs::remove_file(at("mine/report.md")).unwrap();
    done(&eval);
    done(&eval);
}

#[cfg(unix)]
#[test]
fn loops_of_links_end_and_a_store_among_its_sources_is_skipped() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    dump(&at("a"), 10);
    fs::create_dir(at("b")).unwrap();
    symlink(at("b"), at("a/loop")).unwrap();
    symlink(at("a"), at("b/loop")).unwrap();
    symlink(at("b"), at("b/other")).unwrap();
    let store = at("store");
    let words = ["ingest", text(folder.path()), "--store", text(&store)];
    done(&words);
    let before = bytes(&store);
    done(&words);
    assert_eq!(bytes(&store), before);
    let files = "SELECT count(*) AS n FROM sources";
    assert_eq!(query(&store, files), "n\n8\n");
}

#[test]
fn sql_takes_deep_expressions_and_a_byte_order_mark() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep.sql");
    let sum = vec!["1"; 1_500].join("+");
    fs::write(&file, format!("\u{feff}SELECT {sum} AS n")).unwrap();
    let words = ["sql", "--format", "csv", "-f", text(&file)];
    assert_eq!(done(&words), "n\n1500\n");
}

#[cfg(unix)]
#[test]
fn a_copy_on_a_full_disk_is_no_internal_error() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on file sizes simulates a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec {} sql -c \"COPY (SELECT * FROM generate_series(1, 100000)) TO 'x.csv'\"",
        env!("CARGO_BIN_EXE_polyphony")
    );
    let output = Command::new("bash")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("free space") && !stderr.contains("Internal"),
        "{stderr}"
    );
}

#[cfg(unix)]
#[test]
fn sigterm_writes_a_checkpoint_and_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows: String = (0..40)
        .map(|n| {
            format!("{{\"prompt\":\"A door {n}.\",\"completion\":\" It opened {n} times.\"}}\n")
        })
        .collect();
    fs::write(at("rows.jsonl"), rows).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/llama/model");
    let (data, out) = (at("rows.jsonl"), at("run"));
    let words = [
        "train",
        "sft",
        "--model",
        text(&model),
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--max-steps",
        "100000",
        "--save-steps",
        "1000000",
    ];
    let mut child = polyphony()
        .args(words)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let has_steps = || fs::metadata(out.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0);
    while !has_steps() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run ended before its first step"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.contains("run the same command to resume"),
        "{stderr}"
    );
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 1);
}
