//! Files beside an output: a file that a command writes without being told its name replaces only one that this
//! program wrote.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::Value;

use crate::{Error, Result, panics};

/// How Parquet files of this program begin the name of their writer.
pub const PARQUET_WRITER: &str = "polyphony ";

/// Fails if a file is there and `is_ours` does not know its content.
///
/// # Errors
/// When it is there and is another's, or cannot be read.
pub fn refuse_foreign(path: &Path, is_ours: impl Fn(&[u8]) -> bool) -> Result<()> {
    match fs::read(path) {
        Ok(bytes) if is_ours(&bytes) => Ok(()),
        Ok(_) => Err(foreign(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Fails if a file is there and is no Parquet file of this program.
///
/// # Errors
/// When it is there and is another's.
pub fn refuse_foreign_parquet(path: &Path) -> Result<()> {
    let writer = |path: &Path| {
        let file = fs::File::open(path).ok()?;
        let reader = panics::caught(|| SerializedFileReader::new(file));
        let reader = reader.ok()?.ok()?;
        let metadata = reader.metadata().file_metadata();
        metadata.created_by().map(str::to_owned)
    };
    let is_ours = |writer: String| writer.starts_with(PARQUET_WRITER);
    if path.exists() && !writer(path).is_some_and(is_ours) {
        return Err(foreign(path));
    }
    Ok(())
}

/// Whether a JSON text is an object with a field of this value, or with any if that is `None`.
pub fn has_field(bytes: &[u8], field: &str, value: Option<&str>) -> bool {
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let found = object.get(field);
    found.is_some_and(|found| value.is_none_or(|value| found == value))
}

/// Fails if an output is one of the inputs.
///
/// # Errors
/// When both paths are of one file.
pub fn refuse_input(out: &Path, input: &Path) -> Result<()> {
    let canonical = |path: &Path| fs::canonicalize(path).ok();
    let out_path = canonical(out);
    if out_path.is_some() && out_path == canonical(input) {
        return Err(Error::input(
            out,
            "is an input, which the output would replace",
            "choose another --out",
        ));
    }
    Ok(())
}

fn foreign(path: &Path) -> Error {
    Error::input(
        path,
        "is there already, and is not of an earlier run of this command",
        "move it, or choose another --out",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes.json");
        let is_ours = |bytes: &[u8]| has_field(bytes, "polyphony", None);
        refuse_foreign(&path, is_ours).unwrap();
        fs::write(&path, "{\"polyphony\": \"0.1.0\"}").unwrap();
        refuse_foreign(&path, is_ours).unwrap();
        for other in ["{\"votes\": 3}", "polyphony", ""] {
            fs::write(&path, other).unwrap();
            let message = refuse_foreign(&path, is_ours).unwrap_err().to_string();
            assert!(
                message.contains("votes.json: is there already"),
                "{message}"
            );
            assert!(refuse_foreign_parquet(&path).is_err());
        }
        assert!(refuse_input(&folder.path().join("./votes.json"), &path).is_err());
        refuse_input(&folder.path().join("other.json"), &path).unwrap();
    }
}
