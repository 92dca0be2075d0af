//! File formats: which one a file name stands for, and which files a folder holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lines;
use crate::{Error, Result};

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

/// A file of rows: JSON lines, CSV or Parquet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its format, by its name.
    pub format: Format,
    /// Its size on disk in bytes.
    pub bytes: u64,
}

impl RowFile {
    /// A file by its path.
    ///
    /// # Errors
    /// When it is missing or empty, its name ends in no known format, or it is not compressed as its
    /// name says.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::metadata(path).map_err(Error::io("read", path))?.len();
        let format = format_from_name(path).ok_or_else(|| {
            Error::input(
                path,
                "has no ending that says what it is",
                "files end in .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet",
            )
        })?;
        if bytes == 0 {
            return Err(Error::input(
                path,
                "is empty",
                "leave it out, or fetch it again",
            ));
        }
        if format != Format::Parquet {
            // A file that is not of the compression that its name says is refused before any work.
            lines::open(path, &Arc::default())?;
        }
        let path = path.to_path_buf();
        Ok(Self {
            path,
            format,
            bytes,
        })
    }
}

/// The files that paths stand for: a file is itself, a folder all files in it with a known ending.
/// Sorted, each once.
///
/// # Errors
/// As [`RowFile::open`], and when a folder holds no such file.
pub fn find_files(paths: &[PathBuf]) -> Result<Vec<RowFile>> {
    let mut found = Vec::new();
    for path in paths {
        let about = fs::metadata(path).map_err(Error::io("read", path))?;
        if !about.is_dir() {
            found.push(RowFile::open(path)?);
            continue;
        }
        let mut files = list_files(path, &|_| true)?;
        files.retain(|file| format_from_name(file).is_some());
        if files.is_empty() {
            return Err(Error::input(
                path,
                "holds no .zst, .gz, .jsonl, .ndjson, .json, .csv or .parquet file",
                "name a folder with dumps or data sets, or the files themselves",
            ));
        }
        for file in files {
            found.push(RowFile::open(&file)?);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The layout that a file's name says; `None` when it says none that can be read.
pub fn format_from_name(path: &Path) -> Option<Format> {
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

/// The files of a folder and of those in it that `enters` says yes to, in order; hidden ones are left
/// out.
///
/// # Errors
/// When a folder cannot be read.
pub fn list_files(folder: &Path, enters: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
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
            files.extend(list_files(&path, enters)?);
        }
    }
    files.sort();
    Ok(files)
}

/// Names as a short list.
pub fn quoted_list(columns: &[String]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_layout() {
        let format = |name: &str| format_from_name(Path::new(name));
        assert_eq!(format("RS_2019-01.zst"), Some(Format::JsonLines));
        assert_eq!(format("a/b.jsonl.gz"), Some(Format::JsonLines));
        assert_eq!(format("votes.CSV"), Some(Format::Csv));
        assert_eq!(format("votes.csv.gz"), Some(Format::Csv));
        assert_eq!(format("train.parquet"), Some(Format::Parquet));
        assert_eq!(format("README.md"), None);
    }
}
