//! Which files do the paths of outputs stand for? Each once, and none that a run of ours wrote beside.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format::{self, RowFile};

use super::{Named, row};

/// The report's numbers: a folder that has them holds no outputs.
const REPORT: &str = "report.json";

/// The files, and whose they are where the command line says it.
///
/// # Errors
/// When a path cannot be read, or one file has two names.
pub(super) fn find(named: &[Named]) -> Result<Vec<(RowFile, Option<&str>)>> {
    let mut found: Vec<(RowFile, Option<&str>)> = Vec::new();
    let mut known: HashMap<PathBuf, Option<&str>> = HashMap::new();
    for Named { model, path } in named {
        let model = model.as_deref();
        for source in format::find_files(&expand(path)?)? {
            let whole = fs::canonicalize(&source.path).map_err(Error::io("read", &source.path))?;
            match known.get(&whole) {
                None => {
                    known.insert(whole, model);
                    found.push((source, model));
                }
                Some(before) if *before == model => {}
                Some(before) => {
                    let name = |name: Option<&str>| {
                        name.map_or("no name".to_owned(), |name| format!("the name `{name}`"))
                    };
                    let (before, now) = (name(*before), name(model));
                    let message = format!("stands there twice, with {before} and with {now}");
                    return Err(Error::input(&source.path, message, "name it once"));
                }
            }
        }
    }
    Ok(found)
}

/// The files of outputs in a folder, and a file as it is.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    if path.join(REPORT).is_file() {
        let message = format!("holds a {REPORT}: it is a report, and no outputs");
        let hint = "name the files of outputs, or their folder";
        return Err(Error::input(path, message, hint));
    }
    let mut files = format::list_files(path, &|folder| !folder.join(REPORT).is_file())?;
    files.retain(|file| format::format_from_name(file).is_some() && !is_beside(file));
    let all = files.clone();
    files.retain(|file| !repeats_others(file, &all));
    if files.is_empty() {
        let message = "holds no .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet file";
        let hint = "name a folder with outputs, or the files themselves";
        return Err(Error::input(path, message, hint));
    }
    Ok(files)
}

/// Whether a file says nothing but what others of its folder say, too: a harness's results beside its
/// samples, and `NoveltyBench`'s earlier stages and summary beside its scores.
fn repeats_others(path: &Path, all: &[PathBuf]) -> bool {
    let beside = |is: &dyn Fn(&str) -> bool| {
        let mut others = all.iter().filter(|other| other.parent() == path.parent());
        others.any(|other| is(&row::label(other)))
    };
    let has = |name: &str| beside(&|other| other == name);
    match row::label(path).as_str() {
        name if name.starts_with("results_") => beside(&|other| other.starts_with(row::SAMPLES)),
        "generations.jsonl" => has("partitions.jsonl") || has("scores.jsonl"),
        "partitions.jsonl" | "summary.json" => has("scores.jsonl"),
        _ => false,
    }
}

/// Whether a file says how the one beside it was made: `X.json` of `X`.
fn is_beside(path: &Path) -> bool {
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let of = path.with_extension("");
    is_json && format::format_from_name(&of).is_some() && of.is_file()
}
