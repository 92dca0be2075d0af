//! Sources: the files to ingest, with the kind of data in each.

use std::path::{Path, PathBuf};

use polyphony_io::format::{Format, RowFile, find_files, quoted_list};
use polyphony_io::records::columns_of;

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

/// Expands paths to sources: a file stands for itself, a folder for all its files of a known kind. The
/// order does not depend on the order of `paths`: submissions first, then comments, then data sets.
///
/// # Errors
/// When a path is missing, a file is of no known kind, or a folder has no such file.
pub fn find(paths: &[PathBuf], detection: Detection) -> Result<Vec<Source>> {
    let files = find_files(paths)?.into_iter();
    let mut sources = files
        .map(|file| source(file, detection))
        .collect::<Result<Vec<Source>>>()?;
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// A file as a source with a name other than its path, as for files of the hub.
///
/// # Errors
/// As [`find`].
pub fn named(path: &Path, name: String, detection: Detection) -> Result<Source> {
    let mut source = source(RowFile::open(path)?, detection)?;
    source.name = name;
    Ok(source)
}

fn source(file: RowFile, detection: Detection) -> Result<Source> {
    let kind = match detection {
        Detection::Tabular => Kind::Tabular,
        Detection::ByContent => kind_of(&file.path, file.format)?,
    };
    Ok(Source {
        kind,
        name: file.path.display().to_string(),
        file,
    })
}

/// The kind of a file: by its name for dumps, otherwise by the columns of the first row.
fn kind_of(path: &Path, format: Format) -> Result<Kind> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    if format == Format::JsonLines {
        if name.starts_with("rs_") || name.contains("submissions") {
            return Ok(Kind::Submissions);
        }
        if name.starts_with("rc_") || name.contains("comments") {
            return Ok(Kind::Comments);
        }
    }
    let columns = columns_of(path, format)?;
    let has = |names: &[&str]| {
        names
            .iter()
            .all(|name| columns.iter().any(|column| column == name))
    };
    if has(&["comment_texts", "comment_scores"]) {
        Ok(Kind::Preferences)
    } else if has(&["prompt", "chosen_story", "rejected_story"]) {
        Ok(Kind::LitBench)
    } else if has(&["title", "selftext"]) {
        Ok(Kind::Submissions)
    } else if has(&["body", "link_id"]) {
        Ok(Kind::Comments)
    } else {
        Err(Error::input(
            path,
            format!(
                "unknown kind of data; its columns are {}",
                quoted_list(&columns)
            ),
            "for a table of responses use `--columns prompt=...,response=...,score=...`",
        ))
    }
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
        ] {
            fs::write(folder.path().join(name), line).unwrap();
        }
        let sources = find(&[folder.path().to_path_buf()], Detection::ByContent).unwrap();
        let kinds: Vec<Kind> = sources.iter().map(|source| source.kind).collect();
        assert_eq!(
            kinds,
            [Kind::Submissions, Kind::Submissions, Kind::Comments]
        );
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
        fs::write(&odd, "").unwrap();
        assert!(message(&odd).contains("is empty"));
    }
}
