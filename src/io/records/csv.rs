//! CSV and TSV rows: the separator is detected from the file; quoted fields may contain line breaks.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{OnRow, ReadOptions};
use crate::Result;
use crate::format::{Format, RowFile};
use crate::hash::sha256_file;
use crate::lines::{self, ReadOutcome};
use crate::progress::Progress;

/// The supported separators, in order of preference.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// The size of the sample in which the separator is detected, in bytes.
const SAMPLE: u64 = 64 << 10;

/// The number of rows in which the separator is detected.
const SAMPLE_ROWS: usize = 20;

/// Reads the rows of a CSV or TSV file. Every value is a string.
pub(super) fn read(
    file: &RowFile,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<ReadOutcome> {
    let path = file.path.as_path();
    let separator = separator(path, file.format)?;
    let position = Arc::new(AtomicU64::new(0));
    let opened = lines::open(path, &position)?;
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .from_reader(OpenQuoteDetector::new(opened.reader));
    let header = reader.byte_headers().cloned().unwrap_or_default();
    opened.failure.check()?;
    let names: Vec<Option<String>> = header
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .map(|name| {
            let columns = options.columns;
            let is_requested = columns.is_none_or(|columns| columns.contains(&name.as_str()));
            is_requested.then_some(name)
        })
        .collect();
    let mut record = ByteRecord::new();
    let mut truncated = None;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                opened.failure.check()?;
                truncated = Some(error.to_string());
                break;
            }
        }
        let number = record
            .position()
            .map_or(0, |position| position.line().cast_signed());
        if let Some(fields) = fields(&names, &record) {
            each((number, Ok(fields)))?;
        } else {
            let values: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
            let separator = char::from(separator).to_string();
            each((number, Err(&values.join(&separator))))?;
        }
        progress.set_position(position.load(Ordering::Relaxed));
    }
    if truncated.is_none() && reader.get_ref().is_open() {
        truncated = Some("a quoted field does not end".to_owned());
    }
    Ok(ReadOutcome {
        sha256: sha256_file(path)?,
        truncated,
    })
}

/// The column names in the header.
pub(super) fn columns(path: &Path, format: Format) -> Result<Vec<String>> {
    let separator = separator(path, format)?;
    let opened = lines::open(path, &Arc::default())?;
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .from_reader(opened.reader);
    let header = reader
        .headers()
        .map(|header| header.iter().map(str::to_owned).collect());
    opened.failure.check()?;
    Ok(header.unwrap_or_default())
}

/// The fields of a record; `None` when their number differs from the header's, or one is not UTF-8.
fn fields(names: &[Option<String>], record: &ByteRecord) -> Option<Map<String, Value>> {
    if record.len() != names.len() {
        return None;
    }
    let mut fields = Map::new();
    for (name, value) in names.iter().zip(record) {
        let value = std::str::from_utf8(value).ok()?;
        if let Some(name) = name {
            fields.insert(name.clone(), Value::from(value));
        }
    }
    Some(fields)
}

/// The separator of a file: a tab for TSV; otherwise the separator with which most of the first rows
/// have as many fields as the header. Ties go to the one with the most fields.
fn separator(path: &Path, format: Format) -> Result<u8> {
    if format == Format::Tsv {
        return Ok(b'\t');
    }
    let sample = lines::start(path, SAMPLE)?;
    let fit = |separator: u8| {
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .from_reader(sample.as_slice());
        let fields = reader.byte_headers().map_or(1, ByteRecord::len);
        let records = reader.byte_records().take(SAMPLE_ROWS);
        let consistent = records
            .filter(|record| matches!(record, Ok(record) if record.len() == fields))
            .count();
        if fields > 1 {
            (consistent, fields)
        } else {
            (0, 1)
        }
    };
    // `max_by_key` returns the last of several equal maxima: the preferred separator must come last.
    let best = SEPARATORS.into_iter().rev().max_by_key(|s| fit(*s));
    Ok(best.unwrap_or(b','))
}

/// Reader that tracks whether the input ends within a quoted field, which the CSV reader would take as
/// complete.
struct OpenQuoteDetector<R> {
    inner: R,
    odd: bool,
    last: u8,
}

impl<R> OpenQuoteDetector<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            odd: false,
            last: b'\n',
        }
    }

    /// Whether the input so far has an odd number of quotes and does not end with a line end. The
    /// second condition excludes a stray quote in a complete file.
    fn is_open(&self) -> bool {
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
