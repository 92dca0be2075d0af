//! Store: a folder of tables as Parquet parts, changed by atomic commits.
//!
//! `manifest.json` names the parts (Parquet files) of every table; a part that it does not name does
//! not exist. A change writes new parts, then replaces the manifest in one rename. The next writer
//! removes the files that a killed run did not commit.

mod encode;
pub mod manifest;
pub mod part;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

pub use manifest::{Manifest, Part, SourceEntry, StepEntry};
pub use part::PartWriter;

use polyphony_io::atomic::{LOCK, lock_folder};

use crate::{Error, Result};

const MANIFEST: &str = "manifest.json";
const READERS: &str = "readers";

/// A store in the state of its opening. Any number of processes may read; one may write
/// ([`Store::lock`]).
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    lock: Option<File>,
    /// A shared lock while the store is read: a writer then does not remove parts that this reader may
    /// need.
    _reading: Option<File>,
}

impl Store {
    /// Opens a store for reading.
    ///
    /// # Errors
    /// When the folder contains no store, or one of a newer format version.
    pub fn open(folder: &Path) -> Result<Self> {
        // Locked before the manifest is read. Without the file or the permission there is no writer to
        // exclude.
        let reading = File::open(folder.join(READERS)).ok();
        let reading = reading.filter(|file| file.lock_shared().is_ok());
        let manifest = read_manifest(folder)?.ok_or_else(|| {
            Error::store(
                folder,
                "there is none",
                "make it with `polyphony ingest SOURCE... --store DIR`, or check the path",
            )
        })?;
        Ok(Self {
            folder: folder.to_path_buf(),
            manifest,
            lock: None,
            _reading: reading,
        })
    }

    /// Opens a store for writing, creates it if there is none, and removes the files that a killed run
    /// did not commit.
    ///
    /// # Errors
    /// When another process writes to it, or as [`Store::open`].
    pub fn lock(folder: &Path) -> Result<Self> {
        if folder.is_file() {
            return Err(Error::store(folder, "is a file", "choose a folder"));
        }
        let manifest = read_manifest(folder)?;
        if manifest.is_none()
            && fs::read_dir(folder).is_ok_and(|mut entries| {
                entries.any(|entry| {
                    entry.is_ok_and(|entry| {
                        entry.file_name() != LOCK && entry.file_name() != READERS
                    })
                })
            })
            && !is_leftover(folder)
        {
            return Err(Error::store(
                folder,
                "the folder holds other files and no store",
                "choose an empty or a new folder",
            ));
        }
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        let lock = lock_folder(folder, |process| {
            Error::store(
                folder,
                format!("is being written by another polyphony (process {process})"),
                "wait until it is done, or use another --store",
            )
        })?;
        let readers = folder.join(READERS);
        File::options()
            .create(true)
            .append(true)
            .open(&readers)
            .map_err(Error::io("write", &readers))?;
        // Read again: another writer may have committed between the first read and the lock.
        let manifest = read_manifest(folder)?.unwrap_or_default();
        let store = Self {
            folder: folder.to_path_buf(),
            manifest,
            lock: Some(lock),
            _reading: None,
        };
        store.sweep()?;
        Ok(store)
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The manifest of the store.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The paths of a table's parts, in order.
    pub fn files(&self, table: &str) -> Vec<PathBuf> {
        self.manifest
            .parts(table)
            .iter()
            .map(|part| self.folder.join(table).join(&part.file))
            .collect()
    }

    /// Creates a part of a table. It belongs to the table once a manifest that names it is committed.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn part(&self, table: &str, name: &str, schema: SchemaRef) -> Result<PartWriter> {
        PartWriter::create(&self.folder.join(table), name, schema)
    }

    /// Replaces the manifest in one rename, then removes the parts that are no longer named in it.
    ///
    /// # Errors
    /// When the store is open for reading only, or the manifest cannot be written.
    pub fn commit(&mut self, manifest: Manifest) -> Result<()> {
        if self.lock.is_none() {
            let folder = self.folder.display();
            return Err(Error::Internal(format!(
                "store {folder} is open for reading"
            )));
        }
        manifest.write(&self.folder.join(MANIFEST))?;
        self.manifest = manifest;
        self.sweep()
    }

    /// Removes the files that the manifest does not name. While another process reads the store, this
    /// is deferred to the next writer.
    fn sweep(&self) -> Result<()> {
        let readers = self.folder.join(READERS);
        let readers = File::open(&readers).map_err(Error::io("read", &readers))?;
        if readers.try_lock().is_err() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))? {
            let table = entry.map_err(Error::io("read", &self.folder))?.path();
            let Some(name) = table.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if !table.is_dir() || !manifest::is_table_name(name) {
                continue;
            }
            let parts = self.manifest.parts(name).iter();
            let named: HashSet<&str> = parts.map(|part| part.file.as_str()).collect();
            for file in fs::read_dir(&table).map_err(Error::io("read", &table))? {
                let file = file.map_err(Error::io("read", &table))?.path();
                let is_part = file
                    .extension()
                    .is_some_and(|end| end == "parquet" || end == "tmp");
                let name = file.file_name().and_then(|name| name.to_str());
                let is_named = name.is_some_and(|name| named.contains(name));
                if is_part && !is_named {
                    fs::remove_file(&file).map_err(Error::io("remove", &file))?;
                }
            }
            // Removes the folder of a table without parts; this fails harmlessly when it still has
            // files.
            drop(fs::remove_dir(&table));
        }
        Ok(())
    }
}

fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    match fs::read(&path) {
        Ok(bytes) => Manifest::from_json(folder, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Whether a folder without a manifest is from a run that was killed before its first commit.
fn is_leftover(folder: &Path) -> bool {
    folder.join(LOCK).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let _first = Store::lock(&path).unwrap();
        let message = Store::lock(&path).unwrap_err().to_string();
        assert!(
            message.contains("is being written by another polyphony"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_with_other_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.docx"), "x").unwrap();
        let message = Store::lock(folder.path()).unwrap_err().to_string();
        assert!(message.contains("holds other files"), "{message}");
        assert!(folder.path().join("thesis.docx").exists());
    }

    #[test]
    fn uncommitted_parts_are_removed_by_the_next_writer() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::lock(folder.path()).unwrap();
        store.commit(Manifest::default()).unwrap();
        drop(store);
        let table = folder.path().join("prompts");
        fs::create_dir(&table).unwrap();
        fs::write(table.join("half.parquet"), "x").unwrap();
        fs::write(table.join("half.parquet.tmp"), "x").unwrap();
        fs::write(folder.path().join("mine.txt"), "x").unwrap();
        drop(Store::lock(folder.path()).unwrap());
        assert!(!table.exists());
        assert!(folder.path().join("mine.txt").exists());
    }

    #[test]
    fn parts_are_not_removed_while_another_process_reads() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::lock(folder.path()).unwrap();
        store.commit(Manifest::default()).unwrap();
        let reader = Store::open(folder.path()).unwrap();
        let table = folder.path().join("prompts");
        fs::create_dir(&table).unwrap();
        fs::write(table.join("old.parquet"), "x").unwrap();
        store.commit(Manifest::default()).unwrap();
        assert!(table.exists());
        drop(reader);
        store.commit(Manifest::default()).unwrap();
        assert!(!table.exists());
    }

    #[test]
    fn a_store_of_a_newer_format_version_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), "{\"format\": 99}").unwrap();
        let message = Store::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("made by a newer polyphony"), "{message}");
        fs::write(folder.path().join(MANIFEST), "{").unwrap();
        let message = Store::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("manifest.json"), "{message}");
    }
}
