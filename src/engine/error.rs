//! What can go wrong in the engine, and how is it said in one line: what, where, what to do?

use std::io;
use std::path::{Path, PathBuf};

use datafusion::error::DataFusionError;

/// The result of every fallible function of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names what failed, where, and what the reader can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {doing} {}: {cause}{}", path.display(), io_remedy(cause))]
    Io {
        /// What was tried, as a verb: `read`, `write`, `rename`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// A source that cannot be read as what it should be.
    #[error("{}: {problem}: {remedy}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A store that cannot be used as it stands.
    #[error("store {}: {problem}: {remedy}", path.display())]
    Store {
        /// The store's folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A name that is none of the known ones.
    #[error("unknown {what} `{given}`: known are {known}")]
    Unknown {
        /// The kind of thing: `strategy`, `model`, `column`.
        what: &'static str,
        /// What was given.
        given: String,
        /// The names that would do.
        known: String,
    },
    /// A SQL statement of a file that failed.
    #[error("{file}, statement {statement}: {}", first_line(cause))]
    Sql {
        /// The SQL file.
        file: String,
        /// Its number in the file, from 1.
        statement: usize,
        /// What DataFusion answered.
        cause: Box<DataFusionError>,
    },
    /// A repository of the hub that could not be fetched.
    #[error("hub:{repository}: {problem}: {remedy}")]
    Hub {
        /// `OWNER/NAME[@REVISION]`.
        repository: String,
        /// What the hub answered.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A device that models cannot run on.
    #[error("device {name}: {problem}: {remedy}")]
    Device {
        /// `cpu` or `cuda:N`.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// candle failed while a model was loaded or ran.
    #[error("the model failed: {}", .0.to_string().lines().next().unwrap_or_default())]
    Candle(#[from] candle_core::Error),
    /// DataFusion failed outside a SQL file.
    #[error("{}", first_line(.0))]
    DataFusion(Box<DataFusionError>),
    /// Arrow or Parquet failed.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet failed.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl Error {
    /// An I/O error with the verb and the path that belong to it.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::Io { doing, path, cause }
    }

    /// A source that cannot be used: what is wrong, and what to do.
    pub fn source(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Source {
            path: path.to_path_buf(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A store that cannot be used: what is wrong, and what to do.
    pub fn store(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Store {
            path: path.to_path_buf(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// Whether the user can mend it (exit code 1) or it is ours to mend (exit code 2).
    pub fn is_users(&self) -> bool {
        match self {
            Self::DataFusion(error) => !matches!(error.find_root(), DataFusionError::Internal(_)),
            Self::Sql { cause, .. } => !matches!(cause.find_root(), DataFusionError::Internal(_)),
            Self::Arrow(_) | Self::Candle(_) | Self::Parquet(_) => false,
            _ => true,
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::DataFusion(Box::new(error))
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => *error,
            Error::Arrow(error) => error.into(),
            Error::Parquet(error) => error.into(),
            other => Self::External(Box::new(other)),
        }
    }
}

/// The hint that belongs to the system's commoner refusals.
fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": check the path",
        io::ErrorKind::PermissionDenied => ": check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space, or choose a folder on another disk; nothing half-written is kept"
        }
        _ => "",
    }
}

/// DataFusion appends backtraces and hints on further lines; one line is what is shown, with what
/// to do where that is known.
fn first_line(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        // An error of ours that went through DataFusion comes out as it went in.
        DataFusionError::External(ours) => ours.to_string(),
        _ => error.strip_backtrace(),
    };
    let line = text.lines().next().unwrap_or_default().trim();
    let remedy = if line.contains("table '") && line.ends_with("not found") {
        ": `SHOW TABLES` lists the tables"
    } else if line.contains("No field named") && !line.contains("Valid fields") {
        ": `DESCRIBE` and the table's name list its columns"
    } else if line.contains("Resources exhausted") {
        ": free memory, or give more with `SET datafusion.runtime.memory_limit`"
    } else {
        ""
    };
    format!("{line}{remedy}")
}
