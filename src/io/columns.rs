//! Column mapping: parser of `ROLE=COLUMN,ROLE=COLUMN`, the value of every `--columns` option.

use crate::{Error, Result};

/// Parses a column mapping to `(role, column)` pairs in the order of `text`. White space around names
/// is ignored.
///
/// # Errors
/// When a part is not of the form `ROLE=COLUMN`, or its role is not in `roles`.
pub fn parse_columns(text: &str, roles: &[&'static str]) -> Result<Vec<(&'static str, String)>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let pairs = parts.map(|part| {
        let unknown = || Error::Unknown {
            what: "column role",
            given: part.to_owned(),
            known: format!("ROLE=COLUMN with a role of {}", roles.join(", ")),
        };
        let (role, column) = part.split_once('=').ok_or_else(unknown)?;
        let role = roles.iter().find(|name| **name == role.trim());
        Ok((*role.ok_or_else(unknown)?, column.trim().to_owned()))
    });
    pairs.collect()
}
