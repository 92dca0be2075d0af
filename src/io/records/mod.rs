//! Row reader: the rows of JSON, CSV, TSV and Parquet files as maps of named fields.
//!
//! | format | file names | notes |
//! |---|---|---|
//! | JSON lines | `.jsonl`, `.ndjson`, `.json`, and anything else compressed | bare `NaN` and `Infinity` are read |
//! | JSON array | the same | the array's objects are the rows; read as a stream |
//! | JSON document | `.json` | an object that is a row, or that contains one list of rows |
//! | CSV | `.csv` | separator `,` `;` tab or `\|`, detected from the file; line breaks in quoted fields |
//! | TSV | `.tsv` | likewise |
//! | Parquet | `.parquet` | |
//!
//! All but Parquet may be compressed as `.gz` or `.zst`, and may begin with a UTF-8 BOM.

mod csv;
mod json;
mod parquet;
mod table;

use std::path::Path;

use serde_json::{Map, Value};

pub use self::json::{
    is_lines as is_json_lines, non_finite, replace_non_finite_literals, restore_non_finite_literals,
};
pub use self::parquet::{open as parquet, rows_of as batch_rows};
pub use self::table::{TableSchema, read_batches};
use crate::format::{Format, RowFile};
use crate::lines::ReadOutcome;
use crate::progress::Progress;
use crate::{Error, Result};

/// A row: its number from 1 (the line number, or the row number in Parquet files and JSON arrays), and
/// its fields, or the raw text of a malformed row.
pub type Record<'a> = (i64, std::result::Result<Map<String, Value>, &'a str>);

/// The callback that receives every row.
pub type OnRow<'a> = dyn FnMut(Record<'_>) -> Result<()> + 'a;

/// Options for reading a file of rows.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// The columns to read; `None` reads all. A missing column is not an error.
    pub columns: Option<&'a [&'a str]>,
    /// Whether the single object of a `.json` file is itself a row. If not, and it contains exactly one
    /// list of objects, those objects are the rows.
    pub is_row: &'a dyn Fn(&Map<String, Value>) -> bool,
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self {
            columns: None,
            is_row: &|_| false,
        }
    }
}

/// Reads a file and calls `each` for every row, in file order.
///
/// # Errors
/// When the file is not valid in its format, or `each` fails.
pub fn read(
    file: &RowFile,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<ReadOutcome> {
    match file.format {
        Format::JsonLines => json::read(file, options, progress, each),
        Format::Csv | Format::Tsv => csv::read(file, options, progress, each),
        Format::Parquet => parquet::read(file, options, progress, each),
    }
}

/// The column names of a file in file order, from its header or its first row.
///
/// # Errors
/// When the file cannot be opened or is not valid in its format.
pub fn columns_of(path: &Path, format: Format) -> Result<Vec<String>> {
    match format {
        Format::JsonLines => json::columns(path),
        Format::Csv | Format::Tsv => csv::columns(path, format),
        Format::Parquet => parquet::columns(path),
    }
}

/// The error for a malformed row, for callers that reject the entire file.
pub fn malformed_row(file: &RowFile, number: i64, text: &str) -> Error {
    let message = match file.format {
        Format::JsonLines => {
            let problem = serde_json::from_str::<Map<String, Value>>(text).err();
            let problem = problem.map_or_else(String::new, |error| format!(" ({error})"));
            format!("row {number} is not a JSON object{problem}")
        }
        _ => format!("row {number} has not as many fields as the header, or is not UTF-8"),
    };
    Error::input(&file.path, message, "correct the row or remove it")
}

#[cfg(test)]
mod tests;
