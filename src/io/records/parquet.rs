//! Parquet rows: Arrow arrays converted to JSON values directly, not through text.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Number, Value};

use super::json::non_finite_value;
use super::{OnRow, ReadOptions};
use crate::format::RowFile;
use crate::hash::sha256_file;
use crate::lines::ReadOutcome;
use crate::panics;
use crate::progress::Progress;
use crate::{Error, Result};

/// The number of rows decoded at a time.
const BATCH_SIZE: usize = 256;

/// Opens a Parquet file.
///
/// # Errors
/// When it cannot be read or is not a Parquet file.
pub fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let invalid = |why: String| {
        let message = format!("is not a Parquet file ({why})");
        Error::input(path, message, "fetch it again")
    };
    // The reader of Arrow schemas panics at types that it does not know, as in damaged metadata.
    panics::caught(|| ParquetRecordBatchReaderBuilder::try_new(file))
        .map_err(&invalid)?
        .map_err(|error| invalid(error.to_string()))
}

/// The column names.
pub(super) fn columns(path: &Path) -> Result<Vec<String>> {
    let reader = open(path)?;
    let names = reader.schema().fields().iter().map(|f| f.name().clone());
    Ok(names.collect())
}

/// Reads the rows of a Parquet file. A null becomes an absent field.
pub(super) fn read(
    file: &RowFile,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<ReadOutcome> {
    let path = file.path.as_path();
    let mut builder = open(path)?;
    let total = builder
        .metadata()
        .file_metadata()
        .num_rows()
        .max(1)
        .unsigned_abs();
    if let Some(columns) = options.columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let mut number = 0;
    let mut truncated = None;
    for batch in builder.with_batch_size(BATCH_SIZE).build()? {
        let batch = match batch {
            Ok(batch) => batch,
            // A failure of the system may pass; only damage in the file is the end of its rows.
            Err(error) if error.to_string().contains("(os error ") => {
                let message = format!("cannot be read ({error})");
                return Err(Error::input(path, message, "run the same command again"));
            }
            Err(error) => {
                truncated = Some(error.to_string());
                break;
            }
        };
        for fields in rows_of(&batch)? {
            number += 1;
            each((number, Ok(fields)))?;
        }
        progress.set_position(file.bytes * number.unsigned_abs() / total);
    }
    Ok(ReadOutcome {
        sha256: sha256_file(path)?,
        truncated,
    })
}

/// The rows of a record batch. A null becomes an absent field.
///
/// # Errors
/// When Arrow cannot convert a column.
pub fn rows_of(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    rows(batch.schema().fields(), batch.columns(), batch.num_rows())
}

/// The rows of the columns, each of `len` values.
fn rows(fields: &Fields, columns: &[ArrayRef], len: usize) -> Result<Vec<Map<String, Value>>> {
    let mut rows = vec![Map::new(); len];
    for (field, column) in fields.iter().zip(columns) {
        for (row, value) in rows.iter_mut().zip(values(column)?) {
            if !value.is_null() {
                row.insert(field.name().clone(), value);
            }
        }
    }
    Ok(rows)
}

/// The values of an array as JSON. Types without a JSON counterpart (dates, decimals, bytes) become
/// text in Arrow's display format.
fn values(array: &ArrayRef) -> Result<Vec<Value>> {
    let array = match array.data_type() {
        DataType::Dictionary(_, of) => cast(array, of)?,
        DataType::Utf8 | DataType::Utf8View => cast(array, &DataType::LargeUtf8)?,
        DataType::List(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
            cast(array, &DataType::LargeList(item.clone()))?
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 => cast(array, &DataType::Int64)?,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => cast(array, &DataType::UInt64)?,
        _ => array.clone(),
    };
    let values: Vec<Value> = match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(Value::from).collect(),
        DataType::Int64 => array
            .as_primitive::<Int64Type>()
            .iter()
            .map(Value::from)
            .collect(),
        DataType::UInt64 => {
            let numbers = array.as_primitive::<UInt64Type>().iter();
            numbers.map(Value::from).collect()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => floats(&array)?,
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(Value::from).collect(),
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>().iter();
            let lists = lists.map(|list| match list {
                Some(list) => values(&list).map(Value::Array),
                None => Ok(Value::Null),
            });
            lists.collect::<Result<_>>()?
        }
        DataType::Struct(_) => {
            let array = array.as_struct();
            let rows = rows(array.fields(), array.columns(), array.len())?;
            let rows = rows.into_iter().enumerate();
            let or_null = |(at, row)| {
                if array.is_null(at) {
                    Value::Null
                } else {
                    Value::Object(row)
                }
            };
            rows.map(or_null).collect()
        }
        _ => {
            let formatter = ArrayFormatter::try_new(&array, &FormatOptions::default())?;
            let shown = (0..array.len()).map(|at| {
                if array.is_null(at) {
                    return Ok(Value::Null);
                }
                Ok(Value::from(formatter.value(at).try_to_string()?))
            });
            shown.collect::<Result<_>>()?
        }
    };
    Ok(values)
}

/// A single-precision number by its shortest decimal form: 0.1, not 0.10000000149.
fn floats(array: &ArrayRef) -> Result<Vec<Value>> {
    let is_double = array.data_type() == &DataType::Float64;
    let numbers = cast(array, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    let numbers = numbers.map(|number| match number {
        None => Value::Null,
        Some(number) if !number.is_finite() => non_finite_value(number),
        Some(number) if is_double => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(number) => {
            let shortest = (number as f32).to_string().parse().unwrap_or(number);
            Number::from_f64(shortest).map_or(Value::Null, Value::Number)
        }
    });
    Ok(numbers.collect())
}
