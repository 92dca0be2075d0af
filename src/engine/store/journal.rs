//! Write-ahead journal: the only files that a store may remove, which are those that it began to write and those
//! that a commit replaced.
//!
//! A part is entered before it is created, and before the manifest that no longer names it is written. The entries
//! that the manifest names are kept, the others are removed, and the journal with them. So a file that neither a
//! manifest nor a run of this program has named is never removed.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// The journal's file name in a store's folder.
pub(super) const JOURNAL: &str = "uncommitted";

/// The ending of a part while it is written.
pub(super) const TEMPORARY: &str = ".tmp";

/// Enters parts as `TABLE/FILE`, one a line.
///
/// # Errors
/// When the journal cannot be written.
pub(super) fn enter<'a>(
    folder: &Path,
    parts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    let lines: String = parts
        .into_iter()
        .map(|(table, file)| format!("{table}/{file}\n"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let path = folder.join(JOURNAL);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(Error::io("write", &path))
}

/// The entered parts, each as (table, file). Lines that do not name a Parquet file of a folder are ignored, such as
/// the last one of a killed run.
///
/// # Errors
/// When the journal cannot be read.
pub(super) fn entries(folder: &Path) -> Result<BTreeSet<(String, String)>> {
    let path = folder.join(JOURNAL);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<(String, String)> {
    let mut names = Path::new(line).components();
    let (Some(Component::Normal(table)), Some(Component::Normal(file)), None) =
        (names.next(), names.next(), names.next())
    else {
        return None;
    };
    let (table, file) = (table.to_str()?, file.to_str()?);
    let is_part = Path::new(file)
        .extension()
        .is_some_and(|end| end == "parquet");
    is_part.then(|| (table.to_owned(), file.to_owned()))
}

/// Removes the entered parts that are not `named`, and then the journal.
///
/// # Errors
/// When a file cannot be removed; the journal is then kept.
pub(super) fn sweep(folder: &Path, named: impl Fn(&str, &str) -> bool) -> Result<()> {
    let entries = entries(folder)?;
    let mut tables = BTreeSet::new();
    for (table, file) in &entries {
        let path = folder.join(table).join(file);
        let mut temporary = path.clone().into_os_string();
        temporary.push(TEMPORARY);
        remove(Path::new(&temporary))?;
        if !named(table, file) {
            remove(&path)?;
        }
        tables.insert(folder.join(table));
    }
    for table in tables {
        // Fails harmlessly for a folder that still has files.
        drop(fs::remove_dir(table));
    }
    remove(&folder.join(JOURNAL))
}

/// Removes a file that may be gone.
///
/// # Errors
/// When it is there and cannot be removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The Parquet files in the folders of `folder` that the journal does not name, sorted.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn foreign_parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = entries(folder)?;
    let mut parts = Vec::new();
    for table in read_dir(folder)? {
        if !table.is_dir() {
            continue;
        }
        for file in read_dir(&table)? {
            let name = |path: &Path| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            };
            let (table, file_name) = (name(&table), name(&file));
            let part = file_name.trim_end_matches(TEMPORARY).to_owned();
            if part.ends_with(".parquet") && !entries.contains(&(table, part)) {
                parts.push(file);
            }
        }
    }
    parts.sort();
    Ok(parts)
}

/// The paths in a folder.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_dir(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    entries
        .map(|entry| Ok(entry.map_err(Error::io("read", folder))?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outside_the_folder_are_ignored() {
        for line in [
            "../a.parquet",
            "/a/b.parquet",
            "a.parquet",
            "a/b/c.parquet",
            "a/b.txt",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert!(parse("prompts/a-0.parquet").is_some());
    }
}
