//! What are the rows of a file? A line's each, or those of the one array that a `.json` file is or holds.

use std::io::{BufReader, Read};
use std::sync::Arc;

use polyphony_engine::{Error, Result};
use polyphony_io::format::{Format, RowFile};
use polyphony_io::hash::sha256_file;
use polyphony_io::lines::{self, ReadOutcome};
use polyphony_io::progress::Progress;
use polyphony_io::records::{self, Record};
use serde_json::{Deserializer, Map, Value};

/// Reads a file and hands its rows to `each`. An object that `is_row` is one, whatever it holds.
///
/// # Errors
/// When the file cannot be read as what its name says, or `each` fails.
pub(super) fn read(
    source: &RowFile,
    is_row: &dyn Fn(&Map<String, Value>) -> bool,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let Some(whole) = whole(source)? else {
        return records::read(source, progress, each);
    };
    let rows = match whole {
        Value::Array(rows) => rows,
        Value::Object(object) if is_row(&object) => vec![Value::Object(object)],
        Value::Object(object) => the_array(object),
        other => vec![other],
    };
    for (number, row) in (1..).zip(rows) {
        match row {
            Value::Object(object) => each((number, Ok(object)))?,
            other => each((number, Err(&other.to_string())))?,
        }
    }
    Ok(ReadOutcome {
        sha256: sha256_file(&source.path)?,
        truncated: None,
    })
}

/// What a `.json` file holds, where it is one value and not one a line.
fn whole(source: &RowFile) -> Result<Option<Value>> {
    let name = source.path.to_string_lossy().to_lowercase();
    let is_json = [".json", ".json.gz", ".json.zst"]
        .iter()
        .any(|ending| name.ends_with(ending));
    if !is_json || source.format != Format::JsonLines {
        return Ok(None);
    }
    let begins_as_array = {
        let mut bytes = BufReader::new(lines::open(&source.path, &Arc::default())?.reader).bytes();
        let first = bytes.find(|byte| !matches!(byte, Ok(byte) if byte.is_ascii_whitespace()));
        matches!(first, Some(Ok(b'[')))
    };
    let reader = BufReader::new(lines::open(&source.path, &Arc::default())?.reader);
    let mut values = Deserializer::from_reader(reader).into_iter::<Value>();
    match (values.next(), begins_as_array) {
        (Some(Ok(value)), _) => Ok(values.next().is_none().then_some(value)),
        (Some(Err(_)), true) => {
            let mut text = Vec::new();
            let mut reader = lines::open(&source.path, &Arc::default())?.reader;
            reader
                .read_to_end(&mut text)
                .map_err(Error::io("read", &source.path))?;
            let value = serde_json::from_slice(&records::replace_non_finite_literals(&text));
            value.map(Some).map_err(|error| {
                let message = format!("is no JSON ({error})");
                Error::input(&source.path, message, "fetch it again")
            })
        }
        _ => Ok(None),
    }
}

/// The rows of the only list of objects in an object; the object as a row where there is none, or
/// several.
fn the_array(mut object: Map<String, Value>) -> Vec<Value> {
    let is_rows = |value: &Value| match value.as_array() {
        Some(items) => !items.is_empty() && items.iter().all(Value::is_object),
        None => false,
    };
    let lists = object.iter().filter(|(_, value)| is_rows(value));
    let names: Vec<String> = lists.map(|(name, _)| name.clone()).collect();
    match (
        names.as_slice(),
        names.first().and_then(|name| object.remove(name)),
    ) {
        ([_], Some(Value::Array(rows))) => rows,
        _ => vec![Value::Object(object)],
    }
}
