//! Output of `weigh`: the rows of the input as they were, with three more columns, as Parquet or JSON lines.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchReader as _};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use polyphony_io::atomic::AtomicFile;
use polyphony_io::format::{Format, RowFile};
use polyphony_io::progress::Progress;
use polyphony_io::records::{self, ReadOptions, TableSchema, restore_non_finite_literals};
use serde_json::{Map, Value, json};

use crate::{Error, Result};
use polyphony_io::lines;

/// The columns that are added, in order.
pub(super) const COLUMNS: [&str; 3] = ["deviation_semantic", "deviation_style", "weight"];

/// The format of an output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    Parquet,
    JsonLines,
}

impl OutputFormat {
    /// The format by the ending of a path.
    ///
    /// # Errors
    /// When the ending is of no format that can be written.
    pub(super) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines),
            _ => Err(Error::config(
                "--out",
                format!("must end in .parquet or .jsonl (got {})", path.display()),
                "the ending decides the format",
            )),
        }
    }
}

/// The new columns of consecutive rows, read from the table `weighted_rows`.
pub(super) struct WeightedRows {
    batches: ParquetRecordBatchReader,
    waiting: Option<RecordBatch>,
}

impl WeightedRows {
    /// The rows of a part.
    pub(super) fn open(part: &Path) -> Result<Self> {
        Ok(Self {
            batches: records::parquet(part)?.build()?,
            waiting: None,
        })
    }

    /// The new columns of the next `count` rows.
    ///
    /// # Errors
    /// When so many are not left.
    fn take(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut waiting: Vec<RecordBatch> = self.waiting.take().into_iter().collect();
        let mut rows: usize = waiting.iter().map(RecordBatch::num_rows).sum();
        while rows < count {
            let Some(batch) = self.batches.next() else {
                let hint = "do not change it while it is read";
                return Err(Error::input("the file", "has more rows than before", hint));
            };
            let batch = batch?;
            rows += batch.num_rows();
            waiting.push(batch);
        }
        let schema = self.batches_schema(&waiting);
        let all = concat_batches(&schema, &waiting)?;
        self.waiting = Some(all.slice(count, all.num_rows() - count));
        let taken = all.slice(0, count);
        let column = |name: &str| -> Result<ArrayRef> {
            let column = taken.column_by_name(name);
            column.cloned().ok_or_else(|| {
                let hint = "keep the columns of the built-in 60_weighted_rows.sql";
                Error::input(
                    "60_weighted_rows.sql",
                    format!("gives no column `{name}`"),
                    hint,
                )
            })
        };
        COLUMNS.iter().map(|name| column(name)).collect()
    }

    fn batches_schema(&self, waiting: &[RecordBatch]) -> SchemaRef {
        let first = waiting.first();
        first.map_or_else(|| self.batches.schema(), RecordBatch::schema)
    }
}

/// Writes the rows of `file` with their weights to `out`, in order.
///
/// # Errors
/// When the file has changed since it was read first, or the disk is full; `out` is then as it was.
pub(super) fn write(
    file: &RowFile,
    weights: &mut WeightedRows,
    out: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    match (OutputFormat::of(out)?, file.format) {
        (OutputFormat::JsonLines, Format::JsonLines) => {
            let mut lines = JsonLines::create(out)?;
            if records::is_json_lines(&file.path)? {
                copy_lines(file, weights, &mut lines, progress)?;
            } else {
                copy_objects(file, weights, &mut lines, progress)?;
            }
            lines.finish()
        }
        (OutputFormat::JsonLines, _) => {
            let mut lines = JsonLines::create(out)?;
            each_batch(file, progress, &mut |batch| {
                lines.batch(&with_weights(&batch, weights)?)
            })?;
            lines.finish()
        }
        (OutputFormat::Parquet, _) => {
            let mut writer = None;
            each_batch(file, progress, &mut |batch| {
                let batch = with_weights(&batch, weights)?;
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(parquet_writer(out, &batch.schema())?),
                };
                Ok(writer.write(&batch)?)
            })?;
            match writer {
                Some(writer) => writer.into_inner()?.finish(),
                None => Ok(()),
            }
        }
    }
}

/// Reads a file as record batches: Parquet with its own types, other formats with those of all their values.
fn each_batch(
    file: &RowFile,
    progress: &dyn Progress,
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    if file.format == Format::Parquet {
        let reader = records::parquet(&file.path)?;
        // The batches lack the metadata of the file, as the types of `datasets`.
        let schema = Arc::clone(reader.schema());
        for batch in reader.build()? {
            each(batch?.with_schema(Arc::clone(&schema))?)?;
        }
        return Ok(());
    }
    let schema = TableSchema::infer(file, progress)?;
    records::read_batches(file, &schema, progress, each)
}

/// A batch with the new columns of its rows.
fn with_weights(batch: &RecordBatch, weights: &mut WeightedRows) -> Result<RecordBatch> {
    let old = batch.schema();
    let mut fields: Vec<Arc<Field>> = old.fields().iter().cloned().collect();
    let new = COLUMNS.map(|name| Field::new(name, DataType::Float64, true));
    fields.extend(new.map(Arc::new));
    let mut metadata = old.metadata().clone();
    if let Some(features) = metadata.get_mut(FEATURES) {
        *features = with_features(features);
    }
    let mut columns = batch.columns().to_vec();
    columns.extend(weights.take(batch.num_rows())?);
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The key under which the library `datasets` keeps the types of columns in a Parquet file.
const FEATURES: &str = "huggingface";

/// The types of `datasets` with those of the new columns; other text stays as it is.
fn with_features(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    let features = value.pointer_mut("/info/features");
    let Some(features) = features.and_then(Value::as_object_mut) else {
        return text.to_owned();
    };
    for name in COLUMNS {
        let feature = json!({"dtype": "float64", "_type": "Value"});
        features.insert(name.to_owned(), feature);
    }
    value.to_string()
}

fn parquet_writer(out: &Path, schema: &SchemaRef) -> Result<ArrowWriter<AtomicFile>> {
    let metadata = schema.metadata().iter();
    let mut metadata: Vec<KeyValue> = metadata
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    metadata.sort_by(|a, b| a.key.cmp(&b.key));
    let properties = WriterProperties::builder()
        .set_created_by(format!("polyphony {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_key_value_metadata(Some(metadata).filter(|metadata| !metadata.is_empty()))
        .build();
    let file = AtomicFile::create(out)?;
    Ok(ArrowWriter::try_new(
        file,
        Arc::clone(schema),
        Some(properties),
    )?)
}

/// Copies JSON lines as they are, byte for byte, with the new fields before the closing bracket.
fn copy_lines(
    file: &RowFile,
    weights: &mut WeightedRows,
    out: &mut JsonLines,
    progress: &dyn Progress,
) -> Result<()> {
    let position = Arc::default();
    let mut blocks = lines::open(&file.path, &position)?.lines();
    for block in blocks.by_ref() {
        let rows: Vec<&[u8]> = block.lines().map(|(_, line)| line).collect();
        for (row, fields) in rows.iter().zip(new_fields(&weights.take(rows.len())?)) {
            // The first reading found that every line is an object with fields.
            let open = row.strip_suffix(b"}").unwrap_or(row).trim_ascii_end();
            let fields = Value::Object(fields).to_string();
            out.line(&[open, b",", &fields.as_bytes()[1..]])?;
        }
        progress.set_position(position.load(std::sync::atomic::Ordering::Relaxed));
    }
    blocks.outcome()?.require_complete(&file.path).map(drop)
}

/// Copies the objects of a JSON array or document as lines, their fields in the order of the first.
fn copy_objects(
    file: &RowFile,
    weights: &mut WeightedRows,
    out: &mut JsonLines,
    progress: &dyn Progress,
) -> Result<()> {
    let order = records::columns_of(&file.path, file.format)?;
    let options = ReadOptions {
        columns: None,
        is_row: &super::is_row,
    };
    let outcome = records::read(file, &options, progress, &mut |(number, row)| {
        let row = row.map_err(|text| records::malformed_row(file, number, text))?;
        let fields = new_fields(&weights.take(1)?);
        out.object(&order, row, &fields.into_iter().next().unwrap_or_default())
    })?;
    outcome.require_complete(&file.path).map(drop)
}

/// The new columns as fields of JSON objects.
fn new_fields(columns: &[ArrayRef]) -> Vec<Map<String, Value>> {
    let columns: Vec<&Float64Array> = columns
        .iter()
        .map(AsArray::as_primitive::<Float64Type>)
        .collect();
    let rows = columns.first().map_or(0, Array::len);
    let field = |row: usize, (name, column): (&str, &&Float64Array)| {
        let value = column.is_valid(row).then(|| column.value(row));
        (name.to_owned(), Value::from(value))
    };
    (0..rows)
        .map(|row| {
            let named = COLUMNS.into_iter().zip(&columns);
            named.map(|pair| field(row, pair)).collect()
        })
        .collect()
}

/// Writer of JSON lines.
struct JsonLines {
    file: BufWriter<AtomicFile>,
    path: std::path::PathBuf,
}

impl JsonLines {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, AtomicFile::create(path)?),
            path: path.to_path_buf(),
        })
    }

    /// Writes a line from its parts.
    fn line(&mut self, parts: &[&[u8]]) -> Result<()> {
        for part in parts.iter().chain(&[b"\n".as_slice()]) {
            let written = self.file.write_all(part);
            written.map_err(Error::io("write", &self.path))?;
        }
        Ok(())
    }

    /// Writes an object: the fields of `order` first, then its others, then `last`.
    fn object(
        &mut self,
        order: &[String],
        mut row: Map<String, Value>,
        last: &Map<String, Value>,
    ) -> Result<()> {
        let mut fields = Vec::new();
        for name in order {
            fields.extend(row.remove(name).map(|value| (name.clone(), value)));
        }
        fields.extend(row);
        fields.extend(COLUMNS.iter().filter_map(|name| {
            let value = last.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        }));
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name)))
            .collect();
        let line = restore_non_finite_literals(format!("{{{}}}", fields.join(",")));
        self.line(&[line.as_bytes()])
    }

    /// Writes the rows of a batch; NULL is `null`.
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        for mut row in records::batch_rows(batch)? {
            for name in &names {
                row.entry(name.clone()).or_insert(Value::Null);
            }
            self.object(&names, row, &Map::new())?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let path = self.path;
        let file = self.file.into_inner();
        file.map_err(|error| Error::io("write", &path)(error.into_error()))?
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_datasets_name_the_new_columns() {
        let text = r#"{"info":{"features":{"prompt":{"dtype":"string","_type":"Value"}}}}"#;
        let value: Value = serde_json::from_str(&with_features(text)).unwrap();
        let features = &value["info"]["features"];
        assert_eq!(features["weight"]["dtype"], "float64");
        assert_eq!(features["prompt"]["dtype"], "string");
        assert_eq!(with_features("pandas"), "pandas");
    }

    #[test]
    fn the_ending_decides_the_format() {
        let format = |name: &str| OutputFormat::of(Path::new(name)).ok();
        assert_eq!(format("a.parquet"), Some(OutputFormat::Parquet));
        assert_eq!(format("a.b.jsonl"), Some(OutputFormat::JsonLines));
        assert_eq!(format("a.csv"), None);
        assert_eq!(format("a"), None);
    }
}
