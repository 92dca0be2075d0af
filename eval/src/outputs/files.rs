//! Files of outputs: the expansion of paths and folders to a list of unique files, without reports and manifests.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::store::is_store;
use polyphony_engine::{Error, Result};
use polyphony_io::format::{self, RowFile};

use super::OutputPath;
use super::layouts::lm_eval_harness::SAMPLES;
use super::layouts::{file_name, noveltybench};

/// The file that marks a folder as a report, which contains no outputs.
const REPORT: &str = "report.json";

/// The unique files of `paths`, with the model name from the command line, if any.
///
/// # Errors
/// When a path cannot be read, or one file is listed with two model names.
pub(super) fn find(paths: &[OutputPath]) -> Result<Vec<(RowFile, Option<&str>)>> {
    let mut files: Vec<(RowFile, Option<&str>)> = Vec::new();
    let mut names: HashMap<PathBuf, Option<&str>> = HashMap::new();
    for OutputPath { model, path } in paths {
        let model = model.as_deref();
        for source in format::find_files(&expand(path)?, &|_| true)? {
            let canonical =
                fs::canonicalize(&source.path).map_err(Error::io("read", &source.path))?;
            match names.get(&canonical) {
                None => {
                    names.insert(canonical, model);
                    files.push((source, model));
                }
                Some(before) if *before == model => {}
                Some(before) => {
                    let name = |name: Option<&str>| {
                        name.map_or("no name".to_owned(), |name| format!("the name `{name}`"))
                    };
                    let (before, now) = (name(*before), name(model));
                    let message = format!("is named twice, with {before} and with {now}");
                    return Err(Error::input(&source.path, message, "name it once"));
                }
            }
        }
    }
    Ok(files)
}

/// The files of outputs in a folder; for a file, the file itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    if path.join(REPORT).is_file() {
        let message = format!("is a report (it holds {REPORT}), not outputs");
        let hint = "name the files of outputs, or their folder";
        return Err(Error::input(path, message, hint));
    }
    let mut files = format::list_files(path, &|folder| {
        !folder.join(REPORT).is_file() && !is_store(folder)
    })?;
    files.retain(|file| format::format_from_name(file).is_some() && !is_manifest(file));
    let all = files.clone();
    files.retain(|file| !repeats_others(file, &all));
    if files.is_empty() {
        let message = "holds no .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet file";
        let hint = "name a folder with outputs, or the files themselves";
        return Err(Error::input(path, message, hint));
    }
    Ok(files)
}

/// Whether a file duplicates other files of its folder: results of lm-evaluation-harness next to its samples, and
/// earlier stages of `NoveltyBench`.
fn repeats_others(path: &Path, all: &[PathBuf]) -> bool {
    let has = |is: &dyn Fn(&str) -> bool| {
        let mut siblings = all.iter().filter(|other| other.parent() == path.parent());
        siblings.any(|sibling| is(&file_name(sibling)))
    };
    let name = file_name(path);
    if name.starts_with("results_") {
        return has(&|sibling| sibling.starts_with(SAMPLES));
    }
    noveltybench::is_repeated(&name, |sibling| has(&|other| other == sibling))
}

/// Whether a file is the manifest of another file: `X.json` next to `X`, or `X.embedding.json` next to `X.parquet`.
fn is_manifest(path: &Path) -> bool {
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let of = path.with_extension("");
    let is_of_embeddings = of.extension().is_some_and(|ending| ending == "embedding");
    is_json
        && (format::format_from_name(&of).is_some() && of.is_file()
            || is_of_embeddings && of.with_extension("parquet").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_by_the_file_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let names = [
            ("a.jsonl.json", "a.jsonl"),
            ("b.embedding.json", "b.parquet"),
        ];
        for (manifest, of) in names {
            assert!(!is_manifest(&at(manifest)));
            fs::write(at(of), "").unwrap();
            assert!(is_manifest(&at(manifest)));
            assert!(!is_manifest(&at(of)));
        }
    }
}
