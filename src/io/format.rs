//! File formats: detection by file name, and the search for supported files in folders.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use crate::encoding::{self, Judge};
use crate::lines;
use crate::{Error, Result};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// JSON: an object per line, or one array or object that contains the rows; optionally compressed.
    JsonLines,
    /// Values separated by comma, semicolon, tab or vertical bar; optionally compressed.
    Csv,
    /// Values separated by tabs; optionally compressed.
    Tsv,
    /// Parquet.
    Parquet,
}

/// The supported file name endings, for messages.
pub const ENDINGS: &str = ".zst, .gz, .jsonl, .ndjson, .json, .csv, .tsv or .parquet";

/// The size of the sample in which the text encoding is detected, in bytes: 1 MiB.
const ENCODING_SAMPLE: u64 = 1 << 20;

/// A file of rows: JSON, CSV, TSV or Parquet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The format, detected from the file name.
    pub format: Format,
    /// The size on disk in bytes.
    pub bytes: u64,
}

impl RowFile {
    /// Opens a file of rows and checks its encoding.
    ///
    /// # Errors
    /// When it is missing or empty, has an unknown ending, is not compressed as its name says, or its
    /// text is not UTF-8.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::metadata(path).map_err(Error::io("read", path))?.len();
        let format = format_from_name(path).ok_or_else(|| {
            Error::input(
                path,
                "unknown file format",
                format!("file names end in {ENDINGS}"),
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
            // Checked here so that a wrong compression or encoding fails before any work is done.
            check_encoding(path, format)?;
        }
        let path = path.to_path_buf();
        Ok(Self {
            path,
            format,
            bytes,
        })
    }
}

/// Fails for a text file whose first bytes are not UTF-8.
fn check_encoding(path: &Path, format: Format) -> Result<()> {
    let start = lines::start(path, ENCODING_SAMPLE)?;
    let judge = match format {
        Format::JsonLines => Judge::JsonLines,
        _ => Judge::Csv,
    };
    match encoding::unsupported(&start, judge) {
        None => Ok(()),
        Some(name) => Err(Error::input(
            path,
            format!("its text is {name}, not UTF-8"),
            "convert it first, as with `iconv -f ENCODING -t UTF-8`",
        )),
    }
}

/// Expands paths to files: a file stands for itself, a folder for all its files with a supported
/// ending, and those of its subfolders for which `enters` is true. Sorted, without duplicates.
///
/// # Errors
/// As [`RowFile::open`], and when a folder has no such file.
pub fn find_files(paths: &[PathBuf], enters: &dyn Fn(&Path) -> bool) -> Result<Vec<RowFile>> {
    let mut row_files = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if !metadata.is_dir() {
            row_files.push(RowFile::open(path)?);
            continue;
        }
        let mut files = list_files(path, enters)?;
        files.retain(|file| format_from_name(file).is_some());
        if files.is_empty() {
            return Err(Error::input(
                path,
                format!("holds no {ENDINGS} file"),
                "name a folder with dumps or data sets, or the files themselves",
            ));
        }
        for file in files {
            row_files.push(RowFile::open(&file)?);
        }
    }
    row_files.sort();
    row_files.dedup();
    Ok(row_files)
}

/// The format by file name ending; `None` for an unsupported ending.
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
        ("tsv", _) => Some(Format::Tsv),
        ("parquet", false) => Some(Format::Parquet),
        ("jsonl" | "ndjson" | "json", _) | (_, true) => Some(Format::JsonLines),
        _ => None,
    }
}

/// The files of a folder and, recursively, of the subfolders for which `enters` is true; sorted,
/// without hidden files. Links are followed; a folder that several lead to, or that leads to itself, is read once.
///
/// # Errors
/// When a folder cannot be read.
pub fn list_files(folder: &Path, enters: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    // Folders before links to folders, so that their files have the path without a link.
    let (mut folders, mut links) = (VecDeque::from([folder.to_path_buf()]), VecDeque::new());
    while let Some(folder) = folders.pop_front().or_else(|| links.pop_front()) {
        let canonical = fs::canonicalize(&folder).map_err(Error::io("read", &folder))?;
        if !seen.insert(canonical) {
            continue;
        }
        let entries = fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
        let entries = entries.collect::<std::io::Result<Vec<_>>>();
        let mut entries = entries.map_err(Error::io("read", &folder))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if !path.is_dir() {
                files.push(path);
            } else if enters(&path) {
                let kind = if path.is_symlink() {
                    &mut links
                } else {
                    &mut folders
                };
                kind.push_back(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Names in backticks, separated by commas.
pub fn quoted_list(columns: &[String]) -> String {
    if columns.is_empty() {
        "none".to_owned()
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

    #[cfg(unix)]
    #[test]
    fn loops_of_links_end_and_a_folder_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, file) in [("b", "b/x.csv"), ("c", "c/y.csv"), ("d", "d/no.csv")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(file), "x").unwrap();
        }
        // Two loops, and a link that sorts before the folder that it leads to.
        for (to, link) in [("c", "b/loop"), ("b", "c/loop"), (".", "c/up"), ("b", "a")] {
            std::os::unix::fs::symlink(at(to), at(link)).unwrap();
        }
        let files = list_files(folder.path(), &|path| !path.ends_with("d")).unwrap();
        assert_eq!(files, [at("b/x.csv"), at("c/y.csv")]);
    }

    #[test]
    fn the_format_is_detected_from_the_file_name() {
        let format = |name: &str| format_from_name(Path::new(name));
        assert_eq!(format("RS_2019-01.zst"), Some(Format::JsonLines));
        assert_eq!(format("a/b.jsonl.gz"), Some(Format::JsonLines));
        assert_eq!(format("votes.CSV"), Some(Format::Csv));
        assert_eq!(format("votes.csv.gz"), Some(Format::Csv));
        assert_eq!(format("train.parquet"), Some(Format::Parquet));
        assert_eq!(format("votes.tsv.gz"), Some(Format::Tsv));
        assert_eq!(format("README.md"), None);
    }
}
