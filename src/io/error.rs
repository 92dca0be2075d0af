//! Errors: what failed, where, and how to fix it, in one line; the error kind decides the exit code.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "datafusion")]
use datafusion::error::DataFusionError;

/// The result of every fallible function of the workspace.
pub type Result<T> = std::result::Result<T, Error>;

/// Error kind. It decides the exit code, see [`ErrorKind::exit_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// An unusable file, store, model or query.
    Input,
    /// An option or configuration value that is out of range or contradicts another.
    Config,
    /// A bug of this program.
    Internal,
    /// The operating system or the network refused an operation.
    Io,
    /// The user stopped the work.
    Cancelled,
}

impl ErrorKind {
    /// The exit code of the process: 1 for errors that the user can fix, 2 for a bug, 130 after Ctrl-C
    /// (128 + SIGINT, the shells' convention).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Input | Self::Config | Self::Io => 1,
            Self::Internal => 2,
            Self::Cancelled => 130,
        }
    }
}

/// An error of any crate of the workspace.
///
/// All crates share this type, so that an error keeps its kind on its way up. Variants that wrap
/// another library's error need the feature of that name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {operation} {}: {cause}{}", path.display(), io_hint(cause))]
    Io {
        /// The operation, as a verb: `read`, `write`, `rename`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// An unusable file, model or value.
    #[error("{subject}: {message}: {hint}")]
    Input {
        /// The file, folder, model or column.
        subject: String,
        /// What is wrong with it.
        message: String,
        /// How to fix it.
        hint: String,
    },
    /// An unusable option or configuration value.
    #[error("{option}: {message}: {hint}")]
    Config {
        /// The option as the user types it: `--beta`.
        option: String,
        /// What is wrong, with the value and its bound.
        message: String,
        /// How to fix it.
        hint: String,
    },
    /// An unusable store.
    #[error("store {}: {message}: {hint}", path.display())]
    Store {
        /// The store's folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// How to fix it.
        hint: String,
    },
    /// A name that is not in the list of valid names.
    #[error("unknown {what} `{given}`: known are {known}")]
    Unknown {
        /// The kind of thing: `strategy`, `model`, `column`.
        what: &'static str,
        /// The invalid name.
        given: String,
        /// The valid names.
        known: String,
    },
    /// A repository of the Hugging Face Hub that could not be fetched.
    #[error("hub:{repository}: {message}: {hint}")]
    Hub {
        /// `OWNER/NAME[@REVISION]`.
        repository: String,
        /// The hub's response.
        message: String,
        /// How to fix it.
        hint: String,
    },
    /// A device that cannot run models.
    #[error("device {name}: {message}: {hint}")]
    Device {
        /// `cpu` or `cuda:N`.
        name: String,
        /// What is wrong with it.
        message: String,
        /// How to fix it.
        hint: String,
    },
    /// A bug of this program.
    #[error("internal error: {0}: please report it")]
    Internal(String),
    /// The user stopped the work.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// Arrow failed.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet failed.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A value could not be serialized as JSON.
    #[error("internal error: no JSON can be made of a value ({0}): please report it")]
    Json(#[from] serde_json::Error),
    /// candle failed while a model was loading or running.
    #[cfg(feature = "candle")]
    #[error("the model failed: {}", .0.to_string().lines().next().unwrap_or_default())]
    Candle(#[from] candle_core::Error),
    /// A statement of a SQL file failed.
    #[cfg(feature = "datafusion")]
    #[error("{file}, statement {statement}: {}", first_line(cause))]
    Sql {
        /// The SQL file.
        file: String,
        /// The statement's number in the file, from 1.
        statement: usize,
        /// DataFusion's error.
        cause: Box<DataFusionError>,
    },
    /// DataFusion failed outside a SQL file.
    #[cfg(feature = "datafusion")]
    #[error("{}", first_line(.0))]
    DataFusion(Box<DataFusionError>),
}

impl Error {
    /// An I/O error from its operation (a verb) and path.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::Io {
            operation,
            path,
            cause,
        }
    }

    /// An unusable input: the file, model or column, what is wrong with it, how to fix it.
    pub fn input(
        subject: impl AsRef<OsStr>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Input {
            subject: subject.as_ref().to_string_lossy().into_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// An unusable option: its name, the value and its bound, how to fix it.
    pub fn config(
        option: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Config {
            option: option.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// An unusable store: its folder, what is wrong with it, how to fix it.
    pub fn store(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Store {
            path: path.to_path_buf(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The error kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Hub { .. } => ErrorKind::Io,
            Self::Input { .. } | Self::Store { .. } => ErrorKind::Input,
            Self::Config { .. } | Self::Unknown { .. } | Self::Device { .. } => ErrorKind::Config,
            Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::Internal(_) | Self::Arrow(_) | Self::Parquet(_) | Self::Json(_) => {
                ErrorKind::Internal
            }
            #[cfg(feature = "candle")]
            Self::Candle(_) => ErrorKind::Internal,
            #[cfg(feature = "datafusion")]
            Self::DataFusion(error) => kind_of(error),
            #[cfg(feature = "datafusion")]
            Self::Sql { cause, .. } => kind_of(cause),
        }
    }
}

/// The text of DataFusion's internal error for an output that could not be written, as on a full disk.
#[cfg(feature = "datafusion")]
const PARTIAL_OUTPUT: &str = "Partial results may have been written";

/// The kind of a DataFusion error: that of the wrapped [`Error`] if there is one.
#[cfg(feature = "datafusion")]
fn kind_of(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::Internal(text) if text.contains(PARTIAL_OUTPUT) => ErrorKind::Io,
        DataFusionError::Internal(_) => ErrorKind::Internal,
        DataFusionError::External(cause) => cause
            .downcast_ref::<Error>()
            .map_or(ErrorKind::Input, Error::kind),
        _ => ErrorKind::Input,
    }
}

#[cfg(feature = "datafusion")]
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::DataFusion(Box::new(error))
    }
}

#[cfg(feature = "datafusion")]
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

/// The hint for common system errors; empty for the others.
fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": check the path",
        io::ErrorKind::PermissionDenied => ": check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space, or choose a folder on another disk; nothing half-written is kept"
        }
        _ => "",
    }
}

/// The first line of DataFusion's message, with a hint for common mistakes. DataFusion appends
/// backtraces and its own hints on further lines.
#[cfg(feature = "datafusion")]
fn first_line(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        // An error of this workspace that passed through DataFusion keeps its own message.
        DataFusionError::External(ours) => ours.to_string(),
        DataFusionError::Internal(text) if text.contains(PARTIAL_OUTPUT) => {
            "the output cannot be written completely: free space there, or choose a folder on another disk, and \
             remove what was written"
                .to_owned()
        }
        _ => error.strip_backtrace(),
    };
    // The catalog and schema prefix is the same for every table, so it carries no information.
    let line = text.lines().next().unwrap_or_default().trim();
    let line = line.replace("datafusion.public.", "");
    let missing = line
        .split_once("table '")
        .and_then(|(_, name)| name.strip_suffix("' not found"));
    let hint = if let Some(table) = missing {
        missing_table_hint(table)
    } else if line.contains("No field named") && !line.contains("Valid fields") {
        ": `DESCRIBE` and the table's name list its columns"
    } else if line.contains("Resources exhausted") {
        ": free memory, or give more with `SET datafusion.runtime.memory_limit`"
    } else {
        ""
    };
    format!("{line}{hint}")
}

/// The hint for a missing table: the command that creates it.
#[cfg(feature = "datafusion")]
fn missing_table_hint(table: &str) -> &'static str {
    match table {
        "candidates" | "pair_ids" | "scored_responses" | "deviations" | "weights" | "pairs" => {
            ": `polyphony pairs` makes this table; with `--store DIR`, `SHOW TABLES` lists those of a store"
        }
        "prompts" | "responses" | "sources" | "quarantine" | "quarantined" | "pending" => {
            ": this is a table of a store: give `--store DIR`"
        }
        table if table.starts_with("embeddings_") => {
            ": `polyphony embed` and `polyphony pairs` make the tables of vectors; `SHOW TABLES` lists them"
        }
        _ => ": `SHOW TABLES` lists the tables",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "datafusion")]
    #[test]
    fn a_missing_table_error_names_the_command_that_creates_it() {
        let message = |table: &str| {
            let missing = format!("table 'datafusion.public.{table}' not found");
            Error::from(DataFusionError::Plan(missing)).to_string()
        };
        assert!(message("pairs").contains("table 'pairs' not found: `polyphony pairs` makes"));
        assert!(message("responses").contains("give `--store DIR`"));
        assert!(message("own").ends_with("`SHOW TABLES` lists the tables"));
    }

    #[test]
    fn the_error_kind_decides_the_exit_code() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let cases = [
            (Error::io("read", Path::new("a"))(missing), 1),
            (Error::input("a.csv", "is empty", "leave it out"), 1),
            (
                Error::config("--beta", "must be > 0 (got -1)", "raise it"),
                1,
            ),
            (Error::Internal("x".to_owned()), 2),
            (Error::Cancelled("x".to_owned()), 130),
        ];
        for (error, code) in cases {
            assert_eq!(error.kind().exit_code(), code, "{error}");
        }
    }

    #[cfg(feature = "datafusion")]
    #[test]
    fn an_error_keeps_its_kind_through_datafusion() {
        let through = |error: Error| Error::from(DataFusionError::from(error)).kind();
        assert_eq!(
            through(Error::Internal("x".to_owned())),
            ErrorKind::Internal
        );
        assert_eq!(through(Error::input("a", "b", "c")), ErrorKind::Input);
        let full = DataFusionError::Internal(format!("Error! {PARTIAL_OUTPUT} to it!"));
        let full = Error::from(full);
        assert_eq!(full.kind(), ErrorKind::Io);
        assert!(full.to_string().contains("free space there"), "{full}");
        let planned = DataFusionError::Plan("no such column".to_owned());
        assert_eq!(Error::from(planned).kind(), ErrorKind::Input);
    }
}
