//! Atomic file writes and folder locks: a file is complete or absent, and a folder has one writer at a
//! time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

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

/// Runs `write` on a temporary file, flushes it and renames it to `path`; removes it on failure.
fn write_renamed(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let written = File::create(&temporary)
        .and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(Error::io("write", path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
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
