//! all-MiniLM-L6-v2: tests with a published embedder of 22 million parameters, which
//! `tests/peers/fetch_minilm.py` downloads.

use std::fs;
use std::path::PathBuf;

use super::embeddings::{assert_near, expected, lines, rows, vectors};
use super::program::{done, query, text};
use super::{Missing, root, stories};

/// The model's folder, from the environment variable `POLYPHONY_MINILM`.
fn minilm() -> Result<PathBuf, Missing> {
    std::env::var_os("POLYPHONY_MINILM")
        .map(PathBuf::from)
        .ok_or_else(|| Missing("POLYPHONY_MINILM is not set".to_owned()))
}

pub(crate) fn embeddings_equal_those_of_sentence_transformers() -> Result<(), Missing> {
    let minilm = minilm()?;
    let folder = tempfile::tempdir().unwrap();
    let expected = expected("tests/fixtures/minilm.json");
    let file = folder.path().join("texts.jsonl");
    fs::write(&file, lines(&expected)).unwrap();
    let out = folder.path().join("out.parquet");
    done(&[
        "embed",
        text(&file),
        "--column",
        "story",
        "--model",
        text(&minilm),
        "--out",
        text(&out),
    ]);
    assert_near(&vectors(&rows(&out)), &expected, 1e-5);
    Ok(())
}

/// The complete pipeline on real stories: MiniLM as semantic embedder, a small model as style embedder.
pub(crate) fn pairs_of_real_stories_are_weighted() -> Result<(), Missing> {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let minilm = minilm()?;
    stories::ingest(&store)?;
    let style = root().join("tests/fixtures/models/style_roberta/model");
    let summary = done(&[
        "pairs",
        "--store",
        text(&store),
        "--semantic",
        text(&minilm),
        "--style",
        text(&style),
    ]);
    let named = |space: &str, name: &str| {
        let line = format!("{space}: {name}, revision ");
        summary
            .lines()
            .any(|other| other.starts_with(&line) && other.len() >= line.len() + 16)
    };
    assert!(
        named("semantic", "minilm") && named("style", "model"),
        "{summary}"
    );
    let weights = query(
        &store,
        "SELECT count(*) > 100, count(*) = count(deviation_semantic), count(*) = count(deviation_style), \
         stddev(weight) > 0.2 FROM weights",
    );
    assert!(weights.ends_with("\ntrue,true,true,true\n"), "{weights}");
    Ok(())
}
