//! Manifest: the tables of a store with their parts, the ingested files and the steps.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use polyphony_io::checksum::{Checked, parse_checked, write_json_checked};
use tracing::warn;

/// The format version of stores that this program writes.
const FORMAT: u32 = 4;

/// The oldest format version that this program reads: the same without a checksum.
const OLDEST: u32 = 3;

/// The contents of `manifest.json`. It contains no timestamps, so the same input gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format version of the store.
    pub format: u32,
    /// The version of polyphony that last wrote it.
    pub polyphony: String,
    /// Whether the last ingest run finished.
    pub complete: bool,
    /// The ingested files, in order.
    pub sources: Vec<SourceEntry>,
    /// The parts of each table.
    pub tables: BTreeMap<String, Vec<Part>>,
    /// The step that wrote each derived table, by table name.
    pub steps: BTreeMap<String, StepEntry>,
}

/// An ingested file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// The name of the file in the `source` columns.
    pub name: String,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The kind: `submissions`, `comments`, `preferences`, `litbench`, `tabular`.
    pub kind: String,
    /// The options that affect the file's rows.
    pub options: String,
    /// The number of lines or rows read.
    pub lines: u64,
    /// The number of rows of other subreddits, which are not stored.
    pub other_subreddit: u64,
    /// Why the file counts as truncated; `None` for a complete file.
    pub truncated: Option<String>,
    /// The file name prefix of its parts.
    pub prefix: String,
}

/// A Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The file name in the table's folder.
    pub file: String,
    /// The number of rows.
    pub rows: u64,
    /// The size in bytes.
    pub bytes: u64,
    /// The SHA-256, hex.
    pub sha256: String,
}

/// The step that wrote a derived table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The SQL file, or the name of the job.
    pub by: String,
    /// A hash of the SQL, the options and the inputs. The step is up to date if it is unchanged.
    pub fingerprint: String,
    /// The options by name.
    pub options: BTreeMap<String, String>,
}

impl Manifest {
    /// The parts of a table; empty for an unknown table.
    pub fn parts(&self, table: &str) -> &[Part] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    /// The number of rows of a table.
    pub fn rows(&self, table: &str) -> u64 {
        self.parts(table).iter().map(|part| part.rows).sum()
    }

    /// Adds a part to a table; parts without rows are dropped.
    pub fn add(&mut self, table: &str, part: Part) {
        if part.rows > 0 {
            self.tables.entry(table.to_owned()).or_default().push(part);
        }
    }

    /// The names and hashes of a table's parts, as input of a step's fingerprint.
    pub fn state_of(&self, table: &str) -> String {
        let parts = self.parts(table).iter();
        parts
            .map(|part| format!("{}:{}\n", part.file, part.sha256))
            .collect()
    }

    /// Writes `manifest.json` with this program's format version and version, atomically.
    ///
    /// # Errors
    /// When the file cannot be written; an existing manifest is then unchanged.
    pub fn write(&self, path: &Path) -> Result<()> {
        let stamped = Self {
            format: FORMAT,
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.clone()
        };
        write_json_checked(path, &stamped)
    }

    /// Reads `manifest.json` of the store in `folder`.
    ///
    /// # Errors
    /// When it is not a manifest, is damaged, or has a newer format version.
    pub fn from_json(folder: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: String| {
            Error::store(
                folder,
                format!("its manifest.json is damaged ({error})"),
                "restore the file from a copy, or ingest into a new folder",
            )
        };
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if !(OLDEST..=FORMAT).contains(&version.format) {
            let (age, hint) = if version.format > FORMAT {
                ("a newer", "update polyphony, or ingest into a new folder")
            } else {
                ("an older", "ingest into a new folder")
            };
            let layout = version.format;
            let message =
                format!("was made by {age} polyphony (layout {layout}, this one reads {FORMAT})");
            return Err(Error::store(folder, message, hint));
        }
        let (manifest, checked) = parse_checked(bytes).map_err(damaged)?;
        match checked {
            Checked::Absent if version.format == FORMAT => {
                Err(damaged("its checksum is gone".to_owned()))
            }
            Checked::Absent => {
                let folder = folder.display();
                warn!(
                    "store {folder}: its manifest.json has no checksum and was not verified; the next change adds one"
                );
                Ok(manifest)
            }
            Checked::Verified => Ok(manifest),
        }
    }
}
