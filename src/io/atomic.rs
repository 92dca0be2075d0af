//! Atomic file writes and folder locks: a file is complete or absent, and a folder has one writer at a
//! time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// The file name of a folder's lock file.
pub const LOCK: &str = "lock";

/// Writes a file under a temporary name, flushes it to disk, then renames it. Missing parent folders
/// are created.
///
/// # Errors
/// When the file cannot be written, as on a full disk or without permission.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_renamed(path, |file| file.write_all(bytes))
}

/// Copies a file atomically.
///
/// # Errors
/// When the source cannot be read or the target cannot be written.
pub fn copy_atomic(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(Error::io("read", from))?;
    write_renamed(to, |file| std::io::copy(&mut source, file).map(drop))
}

/// Writes a value as JSON, indented by two spaces, with a line end; atomic as [`write_atomic`].
///
/// # Errors
/// When the value cannot be serialized, or as [`write_atomic`]. An existing file is then unchanged.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

/// A file that grows under a temporary name and takes its own at the end; dropped before
/// [`AtomicFile::finish`] it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file. Missing parent folders are created.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.tmp"));
        Ok(Self {
            file: File::create(&temporary).map_err(Error::io("write", path))?,
            temporary,
            path: path.to_path_buf(),
        })
    }

    /// Flushes the file to disk, renames it, and flushes its folder.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<()> {
        let synced = self.file.sync_all();
        synced
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .and_then(|()| sync_folder(&self.path))
            .map_err(Error::io("write", &self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After `finish` the temporary file no longer exists and this fails harmlessly.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Flushes the folder of a file to disk, so that a rename in it outlasts a power failure.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    // Only on Unix a folder can be opened as a file.
    #[cfg(unix)]
    {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Runs `write` on a temporary file, flushes it and renames it to `path`; removes it on failure.
fn write_renamed(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let mut target = AtomicFile::create(path)?;
    write(&mut target.file).map_err(Error::io("write", path))?;
    target.finish()
}

/// Takes the exclusive lock of an existing folder; dropping the returned file releases it. `busy` makes
/// the error from the process id of the lock's owner.
///
/// # Errors
/// When another process owns the lock, or the lock file cannot be written.
pub fn lock_folder(folder: &Path, busy: impl FnOnce(&str) -> Error) -> Result<File> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("write", &path))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(Error::io("write", &path))?;
            write!(file, "{}", std::process::id()).map_err(Error::io("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            drop(file.read_to_string(&mut process));
            Err(busy(&process))
        }
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}
