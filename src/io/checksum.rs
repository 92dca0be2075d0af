//! Checksum: the SHA-256 of a JSON file, as its own last field.
//!
//! It is of the file's text without the field, so that a change of any byte is found. A file without the field, of an
//! earlier version, is read and said to be unchecked.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::write_atomic;
use crate::hash::{Sha256, hex};
use crate::{Error, Result};

/// The text before the digits of the checksum.
const BEFORE: &[u8] = b",\n  \"checksum\": \"";
/// The text after them, to the end of the file.
const AFTER: &[u8] = b"\"\n}\n";
/// The end of the JSON text of an object.
const CLOSING: &[u8] = b"\n}";
/// The number of hex digits of a SHA-256.
const DIGITS: usize = 64;

/// Whether a file has a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It has, and the content agrees with it.
    Verified,
    /// It has none.
    Absent,
}

/// Writes an object as JSON, indented by two spaces, with its checksum as the field `checksum`, atomically.
///
/// # Errors
/// When the value is no object with fields, or the file cannot be written.
pub fn write_json_checked(path: &Path, value: &impl Serialize) -> Result<()> {
    write_atomic(path, &with_checksum(value)?)
}

/// The JSON text of an object with its checksum.
///
/// # Errors
/// When the value is no object with fields.
pub fn with_checksum(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    if !bytes.ends_with(CLOSING) {
        return Err(Error::Internal("a checksum of no object".to_owned()));
    }
    let digits = hex(&Sha256::digest(&bytes));
    bytes.truncate(bytes.len() - CLOSING.len());
    for part in [BEFORE, digits.as_bytes(), AFTER] {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Parses a file of [`write_json_checked`], or one without a checksum.
///
/// # Errors
/// When the content does not agree with the checksum, or is not the JSON of such a value; the text says which.
pub fn parse_checked<T: DeserializeOwned>(
    bytes: &[u8],
) -> std::result::Result<(T, Checked), String> {
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
    match split(bytes) {
        Some((mut body, digits)) => {
            body.extend_from_slice(CLOSING);
            let found = hex(&Sha256::digest(&body));
            if found.as_bytes() != digits {
                return Err(format!(
                    "its checksum is {}, its content's is {found}",
                    String::from_utf8_lossy(digits)
                ));
            }
            Ok((parse(&body)?, Checked::Verified))
        }
        None if memchr::memmem::find(bytes, b"\"checksum\"").is_some() => {
            Err("its checksum is not where it was written".to_owned())
        }
        None => Ok((parse(bytes)?, Checked::Absent)),
    }
}

/// The text before the checksum, and its digits.
fn split(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = bytes.strip_suffix(AFTER)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(BEFORE)?.to_vec(), digits))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Story {
        title: String,
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let story = Story {
            title: "A door".to_owned(),
        };
        let bytes = with_checksum(&story).unwrap();
        assert_eq!(
            parse_checked(&bytes),
            Ok((story.clone(), Checked::Verified))
        );
        let intact_but_unchecked = Ok((story.clone(), Checked::Absent));
        for at in 0..bytes.len() {
            let mut cut = bytes.clone();
            cut.remove(at);
            let mut changed = vec![cut];
            changed.extend([1, 0x20, 0x80].map(|mask| {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                flipped
            }));
            for damaged in changed {
                // Damage of the field's name leaves no checksum, but then the rest is intact.
                let parsed = parse_checked::<Story>(&damaged);
                let has_name = memchr::memmem::find(&damaged, b"\"checksum\"").is_some();
                assert!(
                    parsed.is_err() || (!has_name && parsed == intact_but_unchecked),
                    "byte {at}: {parsed:?}"
                );
            }
        }
        let plain = serde_json::to_vec(&story).unwrap();
        assert_eq!(parse_checked(&plain), intact_but_unchecked);
    }
}
