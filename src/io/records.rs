//! How are data sets read? As objects with named fields, whether JSON lines, CSV or Parquet.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use crate::format::{Format, RowFile};
use crate::hash::sha256_file;
use crate::lines::{self, ReadOutcome};
use crate::progress::Progress;
use crate::{Error, Result};

/// A row of a data set: its number, and its fields or the text that is none.
pub type Record<'a> = (i64, std::result::Result<Map<String, Value>, &'a str>);

/// Reads a data set and hands its rows to `each`.
///
/// # Errors
/// When the file cannot be read as what its name says, or `each` fails.
pub fn read(
    file: &RowFile,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let path = file.path.as_path();
    match file.format {
        Format::JsonLines => json_lines(path, progress, each),
        Format::Csv => comma_separated(path, progress, each),
        Format::Parquet => parquet_rows(file, progress, each),
    }
}

/// Opens a Parquet file.
///
/// # Errors
/// When it cannot be read or is none.
pub fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
        Error::input(
            path,
            format!("is no Parquet file ({error})"),
            "fetch it again",
        )
    })
}

/// The names of a file's columns, from its header or its first object.
///
/// # Errors
/// When the file cannot be opened or is not what its name says.
pub fn columns_of(path: &Path, format: Format) -> Result<Vec<String>> {
    match format {
        Format::Parquet => {
            let reader = parquet(path)?;
            Ok(reader
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect())
        }
        Format::Csv => {
            let opened = lines::open(path, &Arc::default())?;
            let mut reader = csv::Reader::from_reader(opened.reader);
            let header = reader
                .headers()
                .map(|header| header.iter().map(str::to_owned).collect());
            Ok(header.unwrap_or_default())
        }
        Format::JsonLines => {
            let opened = lines::open(path, &Arc::default())?;
            let mut start = Vec::new();
            // A cut file still shows its first lines; reading it whole will tell that it is cut.
            drop(opened.reader.take(1 << 20).read_to_end(&mut start));
            let object = start
                .split(|byte| *byte == b'\n')
                .find_map(|line| serde_json::from_slice::<Map<String, Value>>(line).ok());
            Ok(object
                .map(|object| object.keys().cloned().collect())
                .unwrap_or_default())
        }
    }
}

fn json_lines(
    path: &Path,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let position = Arc::new(AtomicU64::new(0));
    let mut lines = lines::open(path, &position)?.lines();
    for block in lines.by_ref() {
        for (number, line) in block.lines() {
            let object = serde_json::from_slice(line);
            match object.or_else(|_| serde_json::from_slice(&replace_non_finite_literals(line))) {
                Ok(object) => each((number, Ok(object)))?,
                Err(_) => each((number, Err(&String::from_utf8_lossy(line))))?,
            }
        }
        progress.set_position(position.load(Ordering::Relaxed));
    }
    lines.outcome()
}

/// What stands in an object for what is no number: neither a number, nor a text or an id.
const NON_FINITE: &str = r#"{"number":null}"#;

/// Whether a value is there, and is no number.
pub fn is_non_finite(value: &Value) -> bool {
    let fields = value.as_object().filter(|fields| fields.len() == 1);
    fields.is_some_and(|fields| fields.get("number").is_some_and(Value::is_null))
}

/// JSON in which the words that Python writes for what is no number (`NaN`, `Infinity`, `-Infinity`) are
/// objects, so that a row is read for what else it holds.
pub fn replace_non_finite_literals(json: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut whole = Vec::with_capacity(json.len() + NON_FINITE.len());
    let (mut at, mut in_text) = (0, false);
    while let Some(&byte) = json.get(at) {
        let word = WORDS
            .into_iter()
            .find(|word| !in_text && json[at..].starts_with(word));
        if let Some(word) = word {
            whole.extend(NON_FINITE.as_bytes());
            at += word.len();
            continue;
        }
        whole.push(byte);
        at += 1;
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                whole.extend(json.get(at));
                at += 1;
            }
            _ => {}
        }
    }
    whole
}

fn comma_separated(
    path: &Path,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let position = Arc::new(AtomicU64::new(0));
    let opened = lines::open(path, &position)?;
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(OpenQuoteDetector::of(opened.reader));
    let header = reader.byte_headers().cloned().unwrap_or_default();
    let names: Vec<String> = header
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let mut record = csv::ByteRecord::new();
    let mut truncated = None;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                truncated = Some(error.to_string());
                break;
            }
        }
        let number = record
            .position()
            .map_or(0, |position| position.line().cast_signed());
        let fields: Option<Map<String, Value>> = (record.len() == names.len())
            .then(|| {
                let pairs = names.iter().zip(&record);
                pairs
                    .map(|(name, value)| {
                        let value = std::str::from_utf8(value).ok()?;
                        Some((name.clone(), Value::from(value)))
                    })
                    .collect()
            })
            .flatten();
        if let Some(fields) = fields {
            each((number, Ok(fields)))?;
        } else {
            let line = record
                .iter()
                .map(String::from_utf8_lossy)
                .collect::<Vec<_>>()
                .join(",");
            each((number, Err(&line)))?;
        }
        progress.set_position(position.load(Ordering::Relaxed));
    }
    if truncated.is_none() && reader.get_ref().are_open() {
        truncated = Some("a quoted field does not end".to_owned());
    }
    Ok(ReadOutcome {
        sha256: sha256_file(path)?,
        truncated,
    })
}

/// Reads, and follows whether the end falls into a quoted field: the CSV reader takes such a field as
/// it is.
struct OpenQuoteDetector<R> {
    inner: R,
    odd: bool,
    last: u8,
}

impl<R> OpenQuoteDetector<R> {
    fn of(inner: R) -> Self {
        Self {
            inner,
            odd: false,
            last: b'\n',
        }
    }

    /// Whether what was read has a quote without its other, and no line end. A stray quote in a whole
    /// file is none.
    fn are_open(&self) -> bool {
        self.odd && self.last != b'\n'
    }
}

impl<R: Read> Read for OpenQuoteDetector<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.odd ^= memchr::memchr_iter(b'"', &buffer[..read]).count() % 2 == 1;
        self.last = buffer[..read].last().copied().unwrap_or(self.last);
        Ok(read)
    }
}

fn parquet_rows(
    file: &RowFile,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let path = file.path.as_path();
    let builder = parquet(path)?;
    let total = builder
        .metadata()
        .file_metadata()
        .num_rows()
        .max(1)
        .unsigned_abs();
    let mut number = 0;
    let mut truncated = None;
    for batch in builder.with_batch_size(256).build()? {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                truncated = Some(error.to_string());
                break;
            }
        };
        for object in objects(&batch)? {
            number += 1;
            each((number, Ok(object)))?;
        }
        progress.set_position(file.bytes * number.unsigned_abs() / total);
    }
    Ok(ReadOutcome {
        sha256: sha256_file(path)?,
        truncated,
    })
}

/// A batch's rows as objects. In a column of numbers, what is none is told as of JSON: the writer makes
/// it null, which is what is not there.
fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let mut json = arrow::json::LineDelimitedWriter::new(Vec::new());
    json.write(batch)?;
    json.finish()?;
    let lines = json.into_inner();
    let objects = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_default());
    let mut objects: Vec<Map<String, Value>> = objects.collect();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.data_type().is_floating() {
            continue;
        }
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>().iter();
        for (number, object) in numbers.zip(&mut objects) {
            if number.is_some_and(|number| !number.is_finite()) {
                let value = serde_json::from_str(NON_FINITE).unwrap_or_default();
                object.insert(field.name().clone(), value);
            }
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float32Array};

    use super::*;

    #[test]
    fn what_is_no_number_is_neither_null_nor_a_text() {
        let read = |json: &str| {
            serde_json::from_slice::<Value>(&replace_non_finite_literals(json.as_bytes()))
        };
        let row =
            read(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \"NaN", "d": 1}"#).unwrap();
        let none: Value = serde_json::from_str(NON_FINITE).unwrap();
        assert_eq!(row["a"], none);
        assert_eq!(row["b"], Value::from(vec![none.clone(); 2]));
        assert_eq!(row["c"], "NaN \"NaN");
        assert!(read("{\"a\": Nan}").is_err());

        let score = Float32Array::from(vec![Some(1.5), None, Some(f32::NAN), Some(f32::INFINITY)]);
        let batch = RecordBatch::try_from_iter([("score", Arc::new(score) as ArrayRef)]).unwrap();
        let objects = objects(&batch).unwrap();
        let scores: Vec<Option<&Value>> = objects.iter().map(|row| row.get("score")).collect();
        assert_eq!(
            scores,
            [Some(&Value::from(1.5)), None, Some(&none), Some(&none)]
        );
    }
}
