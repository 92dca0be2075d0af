//! Sources: the files to ingest, with the kind of data in each.

use std::path::{Path, PathBuf};

use polyphony_io::format::{Format, RowFile, find_files, quoted_list};
use polyphony_io::records::columns_of;

use crate::store::is_store;
use crate::{Error, Result};

/// The kind of data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Submissions of a Reddit dump.
    Submissions,
    /// Comments of a Reddit dump.
    Comments,
    /// One row per prompt, with lists of comments and votes (`euclaise/WritingPrompts_preferences`).
    Preferences,
    /// One row per pair of stories, with votes (SAA-Lab/LitBench-Train).
    LitBench,
    /// One row per response, in the columns that `--columns` names.
    Tabular,
}

impl Kind {
    /// The kind's name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submissions => "submissions",
            Self::Comments => "comments",
            Self::Preferences => "preferences",
            Self::LitBench => "litbench",
            Self::Tabular => "tabular",
        }
    }

    /// Whether it is a Reddit dump.
    pub const fn is_dump(self) -> bool {
        matches!(self, Self::Submissions | Self::Comments)
    }
}

/// How the kind of a file is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// By its name and its columns.
    ByContent,
    /// Not detected: it is a tabular data set, as `--columns` was set.
    Tabular,
}

/// A file to ingest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The kind of data; submissions sort before comments.
    pub kind: Kind,
    /// The source name in the tables and the manifest.
    pub name: String,
    /// The path and the format of the file.
    pub file: RowFile,
}

/// The result of a search for sources.
#[derive(Debug, Default)]
pub struct Found {
    /// The files to ingest, sorted and distinct.
    pub sources: Vec<Source>,
    /// The names of files of no known kind in folders and repositories, with their columns.
    pub skipped: Vec<(String, String)>,
}

impl Found {
    /// Adds a file of a folder or a repository, which may hold files that are no data; those are skipped.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn add(&mut self, file: RowFile, name: String, detection: Detection) -> Result<()> {
        match detect(&file, detection)? {
            Detected::Kind(kind) => self.sources.push(Source { kind, name, file }),
            Detected::Unknown(columns) => self.skipped.push((name, quoted_list(&columns))),
        }
        Ok(())
    }

    /// Sorts the sources: submissions first, then comments, then data sets, whatever the order of the
    /// arguments.
    pub fn sort(&mut self) {
        self.sources.sort();
        self.sources.dedup();
        self.skipped.sort();
        self.skipped.dedup();
    }
}

/// Expands paths to sources: a file stands for itself, a folder for all its files of a known kind.
///
/// # Errors
/// When a path is missing, a named file is of no known kind, or a folder has no such file.
pub fn find(paths: &[PathBuf], detection: Detection) -> Result<Found> {
    let mut found = Found::default();
    for path in paths {
        let before = found.sources.len();
        let is_folder = path.is_dir();
        // A store among the sources, as with `ingest . --store store`, holds rows that were ingested.
        let enters = |folder: &Path| {
            let is_store = is_store(folder);
            if is_store {
                tracing::warn!("{}: skipped, it is a store", folder.display());
            }
            !is_store
        };
        for file in find_files(std::slice::from_ref(path), &enters)? {
            let name = file.path.display().to_string();
            if is_folder {
                found.add(file, name, detection)?;
            } else {
                let kind = match detect(&file, detection)? {
                    Detected::Kind(kind) => kind,
                    Detected::Unknown(columns) => return Err(unknown(&file.path, &columns)),
                };
                found.sources.push(Source { kind, name, file });
            }
        }
        if is_folder && found.sources.len() == before {
            let (name, columns) = found.skipped.pop().unwrap_or_default();
            return Err(Error::input(
                path,
                format!(
                    "holds no dump and no data set of a known kind; the columns of {name} are {columns}"
                ),
                FOR_TABLES,
            ));
        }
    }
    found.sort();
    Ok(found)
}

/// The hint for tables of unknown columns.
const FOR_TABLES: &str =
    "for a table of responses use `--columns prompt=...,response=...,score=...`";

fn unknown(path: &Path, columns: &[String]) -> Error {
    if columns.is_empty() {
        return no_rows(path);
    }
    let columns = quoted_list(columns);
    let message = format!("unknown kind of data; its columns are {columns}");
    Error::input(path, message, FOR_TABLES)
}

/// The error for a file in whose beginning no row can be read.
pub fn no_rows(path: &Path) -> Error {
    Error::input(
        path,
        "no row of its first MiB is an object with fields: the rows are malformed, or the file is truncated",
        "look at its first line, or fetch it again",
    )
}

/// The kind of a file, or the columns of a file of no known kind.
enum Detected {
    Kind(Kind),
    Unknown(Vec<String>),
}

fn detect(file: &RowFile, detection: Detection) -> Result<Detected> {
    match detection {
        Detection::Tabular => Ok(Detected::Kind(Kind::Tabular)),
        Detection::ByContent => kind_of(&file.path, file.format),
    }
}

/// The kind of a file: by its name for dumps, otherwise by the columns of the first row.
fn kind_of(path: &Path, format: Format) -> Result<Detected> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    if format == Format::JsonLines {
        if name.starts_with("rs_") || name.contains("submissions") {
            return Ok(Detected::Kind(Kind::Submissions));
        }
        if name.starts_with("rc_") || name.contains("comments") {
            return Ok(Detected::Kind(Kind::Comments));
        }
    }
    let columns = columns_of(path, format)?;
    let has = |names: &[&str]| {
        names
            .iter()
            .all(|name| columns.iter().any(|column| column == name))
    };
    Ok(if has(&["comment_texts", "comment_scores"]) {
        Detected::Kind(Kind::Preferences)
    } else if has(&["prompt", "chosen_story", "rejected_story"]) {
        Detected::Kind(Kind::LitBench)
    } else if has(&["title", "selftext"]) {
        Detected::Kind(Kind::Submissions)
    } else if has(&["body", "link_id"]) {
        Detected::Kind(Kind::Comments)
    } else {
        Detected::Unknown(columns)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn submissions_come_first_for_any_order_of_paths() {
        let folder = tempfile::tempdir().unwrap();
        for (name, line) in [
            ("RC_2019-01.jsonl", "{}"),
            ("RS_2019-01.jsonl", "{}"),
            ("extra.jsonl", r#"{"title":"t","selftext":""}"#),
            ("notes.txt", "x"),
            ("readme.json", r#"{"license":"cc-by"}"#),
        ] {
            fs::write(folder.path().join(name), line).unwrap();
        }
        let found = find(&[folder.path().to_path_buf()], Detection::ByContent).unwrap();
        let kinds: Vec<Kind> = found.sources.iter().map(|source| source.kind).collect();
        assert_eq!(
            kinds,
            [Kind::Submissions, Kind::Submissions, Kind::Comments]
        );
        let [(name, columns)] = found.skipped.as_slice() else {
            panic!("{:?}", found.skipped);
        };
        assert!(name.ends_with("readme.json"));
        assert_eq!(columns, "`license`");
    }

    #[test]
    fn errors_name_the_unusable_file() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| {
            find(&[path.to_path_buf()], Detection::ByContent)
                .unwrap_err()
                .to_string()
        };
        assert!(message(folder.path()).contains("holds no .zst"));
        assert!(message(&folder.path().join("gone.zst")).contains("check the path"));
        let odd = folder.path().join("odd.jsonl");
        fs::write(&odd, "{\"a\":1}").unwrap();
        assert!(message(&odd).contains("its columns are `a`"));
        assert!(message(folder.path()).contains("no dump and no data set"));
        fs::write(&odd, "{\"prompt\":\"a\",\"resp").unwrap();
        assert!(message(&odd).contains("malformed, or the file is truncated"));
        fs::write(&odd, "").unwrap();
        assert!(message(&odd).contains("is empty"));
    }
}
