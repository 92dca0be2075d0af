//! Store: a folder of tables as Parquet parts, changed by atomic commits.
//!
//! `manifest.json` names the parts (Parquet files) of every table; a part that it does not name does
//! not exist. A change writes new parts, then replaces the manifest in one rename. The next writer
//! removes the files that a killed run did not commit, by the journal; a file that neither the journal nor a
//! manifest has named is not touched, and without a manifest no part is.

mod encode;
mod journal;
pub mod manifest;
pub mod part;
mod verify;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

pub use manifest::{Manifest, Part, SourceEntry, StepEntry};
pub use part::PartWriter;
pub use verify::TableParts;

use self::journal::JOURNAL;
use self::verify::Verified;
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
    verified: Verified,
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
        let Some(manifest) = read_manifest(folder)? else {
            if folder.is_dir() {
                refuse_lost_manifest(folder)?;
            }
            return Err(Error::store(
                folder,
                "there is none",
                "make it with `polyphony ingest SOURCE... --store DIR`, or check the path",
            ));
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            manifest,
            verified: Verified::default(),
            lock: None,
            _reading: reading,
        })
    }

    /// Opens a store for writing, creates it if there is none, and removes the files that a killed run
    /// did not commit.
    ///
    /// # Errors
    /// When another process writes to it, the folder has other files and no manifest, or as [`Store::open`].
    pub fn lock(folder: &Path) -> Result<Self> {
        if folder.is_file() {
            return Err(Error::store(folder, "is a file", "choose a folder"));
        }
        refuse_foreign_files(folder)?;
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
        // Checked again: another writer may have changed the folder before this one had the lock.
        refuse_foreign_files(folder)?;
        let mut manifest = read_manifest(folder)?.unwrap_or_default();
        verify::forget_missing(folder, &mut manifest);
        let store = Self {
            folder: folder.to_path_buf(),
            manifest,
            verified: Verified::default(),
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

    /// The parts of a table, in order.
    pub fn table(&self, table: &str) -> TableParts {
        self.parts(table, self.manifest.parts(table))
    }

    /// Parts of a table that this manifest, or one that is to be committed, names.
    pub fn parts(&self, table: &str, parts: &[Part]) -> TableParts {
        TableParts::new(&self.folder.join(table), parts, &self.verified)
    }

    /// Creates a part of a table. It belongs to the table once a manifest that names it is committed.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn part(&self, table: &str, name: &str, schema: SchemaRef) -> Result<PartWriter> {
        let file = format!("{name}.parquet");
        journal::enter(&self.folder, [(table, file.as_str())])?;
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
        let parts = |manifest: &Manifest| -> Vec<(String, String)> {
            let tables = manifest.tables.iter();
            let parts = tables.flat_map(|(table, parts)| {
                let of_table = |part: &Part| (table.clone(), part.file.clone());
                parts.iter().map(of_table).collect::<Vec<_>>()
            });
            parts.collect()
        };
        let kept: HashSet<_> = parts(&manifest).into_iter().collect();
        let mut replaced = parts(&self.manifest);
        replaced.retain(|part| !kept.contains(part));
        let replaced = replaced.iter();
        journal::enter(
            &self.folder,
            replaced.map(|(table, file)| (table.as_str(), file.as_str())),
        )?;
        manifest.write(&self.folder.join(MANIFEST))?;
        self.manifest = manifest;
        self.sweep().map(drop)
    }

    /// Removes the store: its parts, then its manifest and locks, then its folder if nothing else is in it. A
    /// killed removal leaves a folder that [`Store::lock`] takes. While another process reads the store, this is
    /// left to the next writer.
    ///
    /// # Errors
    /// When the store is open for reading only, or a file cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.commit(Manifest::default())?;
        if !self.sweep()? {
            return Ok(());
        }
        for file in [MANIFEST, READERS, LOCK] {
            journal::remove(&self.folder.join(file))?;
        }
        // Fails harmlessly for a folder with other files.
        drop(fs::remove_dir(&self.folder));
        Ok(())
    }

    /// Removes the files of the journal that the manifest does not name. While another process reads the store,
    /// this is deferred to the next writer, and false is returned.
    fn sweep(&self) -> Result<bool> {
        let readers = self.folder.join(READERS);
        let readers = File::open(&readers).map_err(Error::io("read", &readers))?;
        if readers.try_lock().is_err() {
            return Ok(false);
        }
        journal::sweep(&self.folder, |table, file| {
            self.manifest
                .parts(table)
                .iter()
                .any(|part| part.file == file)
        })?;
        Ok(true)
    }
}

/// Whether a folder is a store, with or without its manifest.
pub fn is_store(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file() || folder.join(READERS).is_file()
}

fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    match fs::read(&path) {
        Ok(bytes) => Manifest::from_json(folder, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Refuses a folder without a manifest that has other files than those of a run that was killed before its first
/// commit.
fn refuse_foreign_files(folder: &Path) -> Result<()> {
    if read_manifest(folder)?.is_some() || !folder.is_dir() {
        return Ok(());
    }
    refuse_lost_manifest(folder)?;
    let entered = journal::entries(folder)?;
    let is_own = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            return entered.iter().any(|(table, _)| *table == name);
        }
        let temporary = format!(".{MANIFEST}.tmp");
        [LOCK, READERS, JOURNAL, &temporary].contains(&&*name)
    };
    if journal::read_dir(folder)?.iter().all(|path| is_own(path)) {
        return Ok(());
    }
    Err(Error::store(
        folder,
        "the folder holds other files and no store",
        "choose an empty or a new folder",
    ))
}

/// Refuses a store whose parts are there without the manifest that names them.
fn refuse_lost_manifest(folder: &Path) -> Result<()> {
    let parts = journal::foreign_parts(folder)?;
    let Some(first) = parts.first() else {
        return Ok(());
    };
    if !is_store(folder) {
        return Ok(());
    }
    Err(Error::store(
        folder,
        format!(
            "it has no {MANIFEST}, but {} Parquet files, such as {}",
            parts.len(),
            first.display()
        ),
        format!(
            "restore {MANIFEST} from a copy, or ingest into a new folder; the files here stay as they are"
        ),
    ))
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

    /// An empty part that is written, but not committed.
    fn uncommitted(store: &Store, table: &str, name: &str) -> Part {
        store
            .part(table, name, crate::schema::eval_prompts())
            .unwrap()
            .finish()
            .unwrap()
    }

    #[test]
    fn uncommitted_parts_are_removed_by_the_next_writer_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut store = Store::lock(folder.path()).unwrap();
        store.commit(Manifest::default()).unwrap();
        uncommitted(&store, "prompts", "half");
        drop(store);
        // What a kill leaves while a part is written.
        fs::write(at("prompts/half.parquet.tmp"), "x").unwrap();
        for mine in ["mine.txt", "prompts/mine.parquet", "pairs.parquet"] {
            fs::write(at(mine), "x").unwrap();
        }
        drop(Store::lock(folder.path()).unwrap());
        assert!(!at("prompts/half.parquet").exists() && !at("prompts/half.parquet.tmp").exists());
        assert!(!at(JOURNAL).exists());
        for mine in ["mine.txt", "prompts/mine.parquet", "pairs.parquet"] {
            assert!(at(mine).exists(), "{mine}");
        }
    }

    #[test]
    fn without_its_manifest_a_store_is_refused_and_nothing_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::lock(folder.path()).unwrap();
        let mut manifest = Manifest::default();
        let part = uncommitted(&store, "prompts", "a");
        manifest.tables.insert("prompts".to_owned(), vec![part]);
        store.commit(manifest).unwrap();
        drop(store);
        fs::remove_file(folder.path().join(MANIFEST)).unwrap();
        for error in [
            Store::lock(folder.path()).unwrap_err(),
            Store::open(folder.path()).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.contains("restore manifest.json"), "{message}");
        }
        assert!(folder.path().join("prompts/a.parquet").exists());
        // The folder of another program, or of a training run, which has a lock file as well.
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("pairs")).unwrap();
        for file in [LOCK, "run.json", "pairs/mine.parquet"] {
            fs::write(run.path().join(file), "x").unwrap();
        }
        let message = Store::lock(run.path()).unwrap_err().to_string();
        assert!(message.contains("holds other files"), "{message}");
        assert!(run.path().join("pairs/mine.parquet").exists());
    }

    #[test]
    fn a_run_killed_before_its_first_commit_or_while_it_removes_its_store_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Store::lock(&path).unwrap();
        uncommitted(&store, "embedded", "a");
        drop(store);
        let mut store = Store::lock(&path).unwrap();
        assert!(!path.join("embedded").exists());
        let mut manifest = Manifest::default();
        let part = uncommitted(&store, "embedded", "b");
        manifest.tables.insert("embedded".to_owned(), vec![part]);
        store.commit(manifest).unwrap();
        store.remove().unwrap();
        assert!(!path.exists());
        // Each prefix of the removal's order leaves a folder that is taken again.
        for left in [&[LOCK][..], &[LOCK, READERS], &[]] {
            fs::create_dir_all(&path).unwrap();
            for file in left {
                fs::write(path.join(file), "").unwrap();
            }
            Store::lock(&path).unwrap().remove().unwrap();
        }
    }

    #[test]
    fn parts_are_not_removed_while_another_process_reads() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::lock(folder.path()).unwrap();
        let part = uncommitted(&store, "prompts", "old");
        let mut manifest = Manifest::default();
        manifest.tables.insert("prompts".to_owned(), vec![part]);
        store.commit(manifest).unwrap();
        let reader = Store::open(folder.path()).unwrap();
        let table = folder.path().join("prompts");
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
