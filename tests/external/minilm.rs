//! all-MiniLM-L6-v2: 22 million parameters, fetched by `tests/peers/fetch_minilm.py`.

use std::fs;
use std::path::PathBuf;

use super::embeddings::{assert_near, expected, lines, rows, vectors};
use super::program::{done, query, text};
use super::{Missing, root, stories};

/// The folder that `POLYPHONY_MINILM` names.
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

/// The whole path on real stories: MiniLM for meaning, a small model for style.
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
            .any(|found| found.starts_with(&line) && found.len() >= line.len() + 16)
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
