//! Which files does a source stand for, and what is in each?

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lines;
use crate::{Error, Result};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Submissions of a Reddit dump.
    Submissions,
    /// Comments of a Reddit dump.
    Comments,
    /// A row a prompt with lists of comments and votes (`euclaise/WritingPrompts_preferences`).
    Preferences,
    /// A row a pair of stories with votes (SAA-Lab/LitBench-Train).
    LitBench,
    /// A row a response with the columns that `--columns` names.
    Flat,
}

impl Kind {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submissions => "submissions",
            Self::Comments => "comments",
            Self::Preferences => "preferences",
            Self::LitBench => "litbench",
            Self::Flat => "flat",
        }
    }

    /// Whether it is a Reddit dump.
    pub const fn is_dump(self) -> bool {
        matches!(self, Self::Submissions | Self::Comments)
    }
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// A JSON object a line, compressed or not.
    JsonLines,
    /// Comma-separated values, compressed or not.
    Csv,
    /// Parquet.
    Parquet,
}

/// One file to ingest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it holds; submissions sort before comments.
    pub kind: Kind,
    /// The name in the tables and the manifest.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// How it is laid out.
    pub format: Format,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The files that paths stand for: a file is itself, a folder all files in it that fit. The order
/// does not depend on the order of `paths`: submissions come first, then comments, then data sets.
///
/// # Errors
/// When a path is missing, a file is none of the known kinds, or a folder holds none that is.
pub fn find(paths: &[PathBuf], flat: bool) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let about = fs::metadata(path).map_err(Error::io("read", path))?;
        if about.is_dir() {
            let before = sources.len();
            for file in files_in(path, &|_| true)? {
                if format_of(&file).is_some() {
                    sources.push(source(&file, flat)?);
                }
            }
            if sources.len() == before {
                return Err(Error::source(
                    path,
                    "holds no .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet file",
                    "name a folder with dumps or data sets, or the files themselves",
                ));
            }
        } else {
            sources.push(source(path, flat)?);
        }
    }
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// A file as a source under another name, as files of the hub have.
///
/// # Errors
/// As [`find`].
pub fn named(path: &Path, name: String, flat: bool) -> Result<Source> {
    let mut source = source(path, flat)?;
    source.name = name;
    Ok(source)
}

/// The layout that a file's name says; `None` when it says none that can be read.
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name
        .strip_suffix(".zst")
        .or_else(|| name.strip_suffix(".gz"))
        .map_or((name.as_str(), false), |inner| (inner, true));
    let extension = Path::new(name.0)
        .extension()
        .unwrap_or_default()
        .to_string_lossy();
    match (&*extension, name.1) {
        ("csv", _) => Some(Format::Csv),
        ("parquet", false) => Some(Format::Parquet),
        ("jsonl" | "ndjson" | "json", _) | (_, true) => Some(Format::JsonLines),
        _ => None,
    }
}

fn source(path: &Path, flat: bool) -> Result<Source> {
    let about = fs::metadata(path).map_err(Error::io("read", path))?;
    let format = format_of(path).ok_or_else(|| {
        Error::source(
            path,
            "has no ending that says what it is",
            "files end in .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet",
        )
    })?;
    if about.len() == 0 {
        return Err(Error::source(
            path,
            "is empty",
            "leave it out, or fetch it again",
        ));
    }
    if format != Format::Parquet {
        // A file that is not of the compression that its name says is refused before any work.
        lines::open(path, &Arc::default())?;
    }
    let kind = if flat {
        Kind::Flat
    } else {
        kind_of(path, format)?
    };
    Ok(Source {
        kind,
        name: path.display().to_string(),
        path: path.to_path_buf(),
        format,
        bytes: about.len(),
    })
}

/// The files of a folder and of those in it that `enters` says yes to, in order; hidden ones are left
/// out.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_in(folder: &Path, enters: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if !path.is_dir() {
            files.push(path);
        } else if enters(&path) {
            files.extend(files_in(&path, enters)?);
        }
    }
    files.sort();
    Ok(files)
}

/// The kind that the name of a dump says, else what the first row's columns say.
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
        Err(Error::source(
            path,
            format!(
                "is none of the known kinds; its columns are {}",
                listed(&columns)
            ),
            "for a table of responses say `--columns prompt=...,response=...,score=...`",
        ))
    }
}

/// Names as a short list.
pub fn listed(columns: &[String]) -> String {
    if columns.is_empty() {
        "none that can be read".to_owned()
    } else {
        columns
            .iter()
            .map(|column| format!("`{column}`"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The names of a file's columns, from its header or its first object.
///
/// # Errors
/// When the file cannot be opened or is not what its name says.
pub fn columns_of(path: &Path, format: Format) -> Result<Vec<String>> {
    match format {
        Format::Parquet => {
            let reader = super::table::parquet(path)?;
            Ok(reader
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect())
        }
        Format::Csv => {
            let opened = lines::open(path, &Arc::default())?;
            let mut reader = csv::Reader::from_reader(opened.reader);
            let header = reader
                .headers()
                .map(|header| header.iter().map(str::to_owned).collect());
            Ok(header.unwrap_or_default())
        }
        Format::JsonLines => {
            let opened = lines::open(path, &Arc::default())?;
            let mut start = Vec::new();
            // A cut file still shows its first lines; reading it whole will tell that it is cut.
            drop(opened.reader.take(1 << 20).read_to_end(&mut start));
            let object = start.split(|byte| *byte == b'\n').find_map(|line| {
                serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).ok()
            });
            Ok(object
                .map(|object| object.keys().cloned().collect())
                .unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_layout() {
        let format = |name: &str| format_of(Path::new(name));
        assert_eq!(format("RS_2019-01.zst"), Some(Format::JsonLines));
        assert_eq!(format("a/b.jsonl.gz"), Some(Format::JsonLines));
        assert_eq!(format("votes.CSV"), Some(Format::Csv));
        assert_eq!(format("votes.csv.gz"), Some(Format::Csv));
        assert_eq!(format("train.parquet"), Some(Format::Parquet));
        assert_eq!(format("README.md"), None);
    }

    #[test]
    fn submissions_come_first_whatever_the_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, line) in [
            ("RC_2019-01.jsonl", "{}"),
            ("RS_2019-01.jsonl", "{}"),
            ("extra.jsonl", r#"{"title":"t","selftext":""}"#),
            ("notes.txt", "x"),
        ] {
            fs::write(folder.path().join(name), line).unwrap();
        }
        let found = find(&[folder.path().to_path_buf()], false).unwrap();
        let kinds: Vec<Kind> = found.iter().map(|source| source.kind).collect();
        assert_eq!(
            kinds,
            [Kind::Submissions, Kind::Submissions, Kind::Comments]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| find(&[path.to_path_buf()], false).unwrap_err().to_string();
        assert!(message(folder.path()).contains("holds no .zst"));
        assert!(message(&folder.path().join("gone.zst")).contains("check the path"));
        let odd = folder.path().join("odd.jsonl");
        fs::write(&odd, "{\"a\":1}").unwrap();
        assert!(message(&odd).contains("its columns are `a`"));
        fs::write(&odd, "").unwrap();
        assert!(message(&odd).contains("is empty"));
    }
}
