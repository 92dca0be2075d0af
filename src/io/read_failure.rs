//! Read failure: an error of the operating system while a file is read, as opposed to damage in its content.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result};

/// A failure of the operating system to read a file, apart from damage in its content: only damage makes a file
/// truncated. A passing failure (EIO, ENOMEM) is an error, and reading again may succeed.
#[derive(Debug, Clone)]
pub struct ReadFailure {
    path: PathBuf,
    cause: Arc<Mutex<Option<io::Error>>>,
}

impl ReadFailure {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            cause: Arc::default(),
        }
    }

    /// Keeps the first failure, and gives the reader above an error of the same kind.
    pub(crate) fn keep(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let passed_on = error
            .raw_os_error()
            .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.get_or_insert(error);
        passed_on
    }

    /// Fails if reading failed.
    ///
    /// # Errors
    /// When it did; the error has the path and the system's message.
    pub fn check(&self) -> Result<()> {
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause
            .take()
            .map_or(Ok(()), |cause| Err(Error::io("read", &self.path)(cause)))
    }
}

/// Reader of a zstd decoder: a lack of memory for its window, up to 2 GiB, is no damage of the file.
pub(crate) struct OutOfMemory<R> {
    pub(crate) decoder: R,
    pub(crate) failure: ReadFailure,
}

impl<R: Read> Read for OutOfMemory<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            // The text of zstd's `memory_allocation`, which its errors carry without the code.
            if error.to_string().contains("Allocation error") {
                self.failure.keep(io::ErrorKind::OutOfMemory.into())
            } else {
                error
            }
        })
    }
}
