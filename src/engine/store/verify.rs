//! Verification: the parts of a table are compared with the SHA-256 of the manifest before they are read, once in
//! a process.
//!
//! Hashing reads the file once more, at 1 to 2 GB/s a core with the processor's SHA instructions, several parts at
//! a time. Only the tables that a query reads are hashed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::manifest::{Manifest, Part};
use crate::{Error, Result, schema};
use polyphony_io::hash::sha256_file;

/// The tables that `ingest` makes from sources; the others are made from them.
const SOURCE_TABLES: [&str; 5] = [
    schema::PROMPTS,
    schema::RESPONSES,
    schema::QUARANTINED,
    schema::PENDING,
    schema::NEAR_DUPLICATES,
];

/// The parts that were verified since the store was opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Verified(Arc<Mutex<HashSet<(PathBuf, String)>>>);

/// The parts of a table, with their paths.
#[derive(Debug, Clone)]
pub struct TableParts {
    parts: Vec<(PathBuf, Part)>,
    verified: Verified,
}

impl TableParts {
    /// The parts of a table in the folder of that table.
    pub(super) fn new(folder: &Path, parts: &[Part], verified: &Verified) -> Self {
        let path = |part: &Part| (folder.join(&part.file), part.clone());
        Self {
            parts: parts.iter().map(path).collect(),
            verified: verified.clone(),
        }
    }

    /// The paths of the parts, in order. Their content is not checked.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.parts.iter().map(|(path, _)| path.as_path())
    }

    /// The parts' paths and entries in the manifest. The content is not checked.
    pub fn entries(&self) -> &[(PathBuf, Part)] {
        &self.parts
    }

    /// The first part alone.
    #[must_use]
    pub fn first(&self) -> Self {
        Self {
            parts: self.parts.iter().take(1).cloned().collect(),
            verified: self.verified.clone(),
        }
    }

    /// The paths of the parts after their content was compared with the manifest.
    ///
    /// # Errors
    /// When a part cannot be read, or is not as it was written.
    pub fn verified(&self) -> Result<Vec<PathBuf>> {
        self.parts
            .par_iter()
            .map(|(path, part)| self.verified.verify(path, part))
            .collect::<Result<()>>()?;
        Ok(self.paths().map(Path::to_path_buf).collect())
    }
}

impl Verified {
    /// Compares a part with its entry in the manifest.
    fn verify(&self, path: &Path, part: &Part) -> Result<()> {
        let key = (path.to_path_buf(), part.sha256.clone());
        let is_known = |of: &HashSet<_>| of.contains(&key);
        if is_known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let found = sha256_file(path)?;
        if found != part.sha256 {
            return Err(Error::input(
                path,
                format!(
                    "is damaged: its SHA-256 is {found}, the manifest of its store says {}",
                    part.sha256
                ),
                hint(path),
            ));
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key);
        Ok(())
    }
}

/// How a damaged part is replaced.
fn hint(path: &Path) -> &'static str {
    let table = path.parent().and_then(Path::file_name);
    let is_source = SOURCE_TABLES
        .iter()
        .any(|name| table.is_some_and(|table| table == *name));
    if is_source {
        "restore it from a copy, or make the store again from its sources"
    } else {
        "restore it from a copy, or remove it: the command that made it makes it again"
    }
}

/// Removes parts that are gone, of tables that can be made again, from a manifest, and the steps that made them, so
/// that they run again.
pub(super) fn forget_missing(folder: &Path, manifest: &mut Manifest) {
    for (table, parts) in &mut manifest.tables {
        if SOURCE_TABLES.contains(&table.as_str()) {
            continue;
        }
        parts.retain(|part| {
            let path = folder.join(table).join(&part.file);
            let is_there = path.exists();
            if !is_there {
                tracing::warn!("{} is gone: it is made again", path.display());
                let of_space = format!("{table}/");
                manifest
                    .steps
                    .retain(|step, _| step != table && !step.starts_with(&of_space));
            }
            is_there
        });
    }
}
