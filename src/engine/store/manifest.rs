//! What does a store hold, and where does it come from?

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, schema};

/// The layout of stores that this version writes and reads.
const FORMAT: u32 = 1;

/// The contents of `manifest.json`. It holds no time of day: the same input gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout of the store.
    pub format: u32,
    /// The version of polyphony that wrote it last.
    pub polyphony: String,
    /// Whether the last ingest went to its end.
    pub complete: bool,
    /// The files that were ingested, in order.
    pub sources: Vec<SourceEntry>,
    /// The parts of every table.
    pub tables: BTreeMap<String, Vec<Part>>,
    /// How every derived table was made, by table.
    pub steps: BTreeMap<String, StepEntry>,
}

/// A file that was ingested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// The name in the `source` columns.
    pub name: String,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// What it holds.
    pub kind: String,
    /// The options that its rows depend on.
    pub options: String,
    /// How many lines or rows were read.
    pub lines: u64,
    /// How many rows were passed over because they belong to another subreddit.
    pub other_subreddit: u64,
    /// Why it ends before its end, if it does.
    pub truncated: Option<String>,
    /// The beginning of the names of its parts.
    pub prefix: String,
}

/// A Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the table's folder.
    pub file: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// How a derived table was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The SQL file, or the name of the job.
    pub by: String,
    /// A hash of the SQL, the options and the inputs; equal means up to date.
    pub fingerprint: String,
    /// The options.
    pub options: BTreeMap<String, String>,
}

impl Manifest {
    /// The parts of a table, none for one that is not there.
    pub fn parts(&self, table: &str) -> &[Part] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    /// How many rows a table has.
    pub fn rows(&self, table: &str) -> u64 {
        self.parts(table).iter().map(|part| part.rows).sum()
    }

    /// Adds a part to a table; parts without rows are not kept.
    pub fn add(&mut self, table: &str, part: Part) {
        if part.rows > 0 {
            self.tables.entry(table.to_owned()).or_default().push(part);
        }
    }

    /// The names and hashes of a table's parts: what a step that reads it depends on.
    pub fn state_of(&self, table: &str) -> String {
        let parts = self.parts(table).iter();
        parts
            .map(|part| format!("{}:{}\n", part.file, part.sha256))
            .collect()
    }

    /// The bytes of `manifest.json`.
    pub fn to_json(&self) -> String {
        let stamped = Self {
            format: FORMAT,
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.clone()
        };
        serde_json::to_string_pretty(&stamped).unwrap_or_default() + "\n"
    }

    /// Reads `manifest.json` of the store in `folder`.
    ///
    /// # Errors
    /// When it is no manifest, or one of a newer version.
    pub fn from_json(folder: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            Error::store(
                folder,
                format!("its manifest.json cannot be read ({error})"),
                "restore the file, or ingest into a new folder",
            )
        };
        let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
        if version.format > FORMAT {
            return Err(Error::store(
                folder,
                format!(
                    "was made by a newer polyphony (layout {}, this one knows {FORMAT})",
                    version.format
                ),
                "update polyphony, or ingest into a new folder",
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// Whether a folder of the store with this name is a table's.
pub fn is_table_name(name: &str) -> bool {
    schema::TABLES.contains(&name) || name.starts_with(schema::EMBEDDINGS)
}
