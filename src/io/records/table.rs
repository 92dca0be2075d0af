//! Record batches: the rows of a text file as Arrow columns, with types inferred from all rows.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::kernels::cast_utils::{Parser, string_to_timestamp_nanos};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::ReaderBuilder;
use serde_json::{Map, Number, Value};

use super::json::non_finite;
use super::{ReadOptions, columns_of, malformed_row, read};
use crate::format::{Format, RowFile};
use crate::progress::Progress;
use crate::{Error, Result};

/// The number of rows in a batch.
const BATCH_SIZE: usize = 1024;

/// The inferred type of a column or of a list's items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum ColumnType {
    /// No value so far.
    #[default]
    Unknown,
    Boolean,
    Integer,
    Float,
    Date,
    Timestamp,
    Text,
    List(Box<Self>),
    Struct(Vec<(String, Self)>),
}

/// The columns of a file with their types.
#[derive(Debug, Clone)]
pub struct TableSchema {
    columns: Vec<(String, ColumnType)>,
    format: Format,
}

impl TableSchema {
    /// Reads all rows of a file and infers the column types: the narrowest type for all values, text
    /// where they are mixed. Columns are in order of first appearance.
    ///
    /// # Errors
    /// When the file cannot be read, is truncated, or has a malformed row.
    pub fn infer(file: &RowFile, progress: &dyn Progress) -> Result<Self> {
        let names = columns_of(&file.path, file.format)?;
        let names = names.into_iter();
        let mut columns: Vec<_> = names.map(|name| (name, ColumnType::Unknown)).collect();
        let outcome = read(file, &ReadOptions::default(), progress, &mut |(
            number,
            row,
        )| {
            let row = row.map_err(|text| malformed_row(file, number, text))?;
            add_fields(&mut columns, &row, file.format);
            Ok(())
        })?;
        outcome.require_complete(&file.path)?;
        Ok(Self {
            columns,
            format: file.format,
        })
    }

    /// The Arrow schema. All columns are nullable.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(fields(&self.columns)))
    }

    /// A row with its values converted to the inferred types.
    fn convert(&self, mut row: Map<String, Value>) -> Map<String, Value> {
        convert_fields(&mut row, &self.columns, self.format);
        row
    }
}

/// Reads the rows of a file a second time, as batches of the inferred schema.
///
/// # Errors
/// When the file has changed since the types were inferred, or `each` fails.
pub fn read_batches(
    file: &RowFile,
    schema: &TableSchema,
    progress: &dyn Progress,
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let changed = |path: &Path, why: String| {
        let message = format!("does not fit the types of its first reading ({why})");
        Error::input(path, message, "do not change it while it is read")
    };
    let arrow = schema.arrow();
    let mut decode = |rows: &mut Vec<Map<String, Value>>| -> Result<()> {
        let mut decoder = ReaderBuilder::new(Arc::clone(&arrow)).build_decoder()?;
        let filled = decoder.serialize(rows).and_then(|()| decoder.flush());
        let batch = filled.map_err(|error| changed(&file.path, error.to_string()))?;
        rows.clear();
        batch.map_or(Ok(()), &mut *each)
    };
    let mut rows = Vec::with_capacity(BATCH_SIZE);
    let outcome = read(file, &ReadOptions::default(), progress, &mut |(
        number,
        row,
    )| {
        let row = row.map_err(|text| malformed_row(file, number, text))?;
        rows.push(schema.convert(row));
        if rows.len() == BATCH_SIZE {
            decode(&mut rows)?;
        }
        Ok(())
    })?;
    if !rows.is_empty() {
        decode(&mut rows)?;
    }
    outcome.require_complete(&file.path).map(drop)
}

fn fields(columns: &[(String, ColumnType)]) -> Vec<Field> {
    let field = |(name, of): &(String, ColumnType)| Field::new(name, of.arrow(), true);
    columns.iter().map(field).collect()
}

fn add_fields(columns: &mut Vec<(String, ColumnType)>, row: &Map<String, Value>, format: Format) {
    for (name, value) in row {
        let seen = ColumnType::of(value, format);
        match columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, column)) => *column = std::mem::take(column).merge(seen),
            None => columns.push((name.clone(), seen)),
        }
    }
}

fn convert_fields(row: &mut Map<String, Value>, columns: &[(String, ColumnType)], format: Format) {
    for (name, of) in columns {
        if let Some(value) = row.get_mut(name) {
            *value = of.convert(value.take(), format);
        }
    }
}

impl ColumnType {
    fn of(value: &Value, format: Format) -> Self {
        if non_finite(value).is_some() {
            return Self::Float;
        }
        match value {
            Value::Null => Self::Unknown,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(number) if number.is_u64() => Self::Text,
            Value::Number(_) => Self::Float,
            Value::String(text) if format != Format::JsonLines => Self::of_csv(text),
            Value::String(_) => Self::Text,
            Value::Array(items) => {
                let items = items.iter().map(|item| Self::of(item, format));
                Self::List(Box::new(items.fold(Self::Unknown, Self::merge)))
            }
            Value::Object(object) => {
                let mut columns = Vec::new();
                add_fields(&mut columns, object, format);
                Self::Struct(columns)
            }
        }
    }

    /// The type inferred from a CSV value. An empty value counts as missing.
    fn of_csv(text: &str) -> Self {
        let text = text.trim();
        let is_number = || text.ends_with(|last: char| last.is_ascii_digit() || last == '.');
        if text.is_empty() {
            Self::Unknown
        } else if matches!(text, "true" | "false" | "True" | "False") {
            Self::Boolean
        } else if i64::from_str(text).is_ok() {
            Self::Integer
        } else if special(text).is_some() || (is_number() && is_finite(text)) {
            Self::Float
        } else if text.len() == 10 && Date32Type::parse(text).is_some() {
            Self::Date
        } else if text.len() > 10 && string_to_timestamp_nanos(text).is_ok() {
            Self::Timestamp
        } else {
            Self::Text
        }
    }

    /// The narrowest type that can represent the values of both types.
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, of) | (of, Self::Unknown) => of,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.merge(*b))),
            (Self::Struct(mut a), Self::Struct(b)) => {
                for (name, of) in b {
                    match a.iter_mut().find(|(column, _)| *column == name) {
                        Some((_, column)) => *column = std::mem::take(column).merge(of),
                        None => a.push((name, of)),
                    }
                }
                Self::Struct(a)
            }
            (a, b) if a == b => a,
            _ => Self::Text,
        }
    }

    fn arrow(&self) -> DataType {
        match self {
            Self::Unknown | Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::List(item) => DataType::new_list(item.arrow(), true),
            Self::Struct(columns) => DataType::Struct(fields(columns).into()),
        }
    }

    /// The value in the JSON form that Arrow's decoder expects for the type.
    fn convert(&self, value: Value, format: Format) -> Value {
        match (self, value) {
            (Self::List(item), Value::Array(items)) => {
                let items = items.into_iter().map(|value| item.convert(value, format));
                Value::Array(items.collect())
            }
            (Self::Float, value) if non_finite(&value).is_some() => {
                let number = non_finite(&value).unwrap_or(f64::NAN);
                Value::from(number.to_string())
            }
            (Self::Struct(columns), Value::Object(mut row)) => {
                convert_fields(&mut row, columns, format);
                Value::Object(row)
            }
            (Self::Text, value) if non_finite(&value).is_some() => Value::Null,
            (Self::Text | Self::Unknown, Value::String(text)) => {
                let is_missing = text.is_empty() && format != Format::JsonLines;
                if is_missing {
                    Value::Null
                } else {
                    Value::String(text)
                }
            }
            (Self::Text, Value::Null) => Value::Null,
            (Self::Text, value) => Value::from(value.to_string()),
            (_, Value::String(text)) if format != Format::JsonLines => self.parse(text.trim()),
            (_, value) => value,
        }
    }

    /// A CSV value converted to the inferred type.
    fn parse(&self, text: &str) -> Value {
        match self {
            _ if text.is_empty() => Value::Null,
            Self::Boolean => Value::Bool(text.eq_ignore_ascii_case("true")),
            Self::Integer => i64::from_str(text).map_or(Value::Null, Value::from),
            Self::Float => match special(text) {
                Some(number) => Value::from(number.to_string()),
                None => f64::from_str(text)
                    .ok()
                    .and_then(Number::from_f64)
                    .map_or(Value::Null, Value::Number),
            },
            _ => Value::from(text),
        }
    }
}

/// A non-finite number in the spelling of pandas or JSON.
fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" => Some(f64::NAN),
        "inf" | "Infinity" => Some(f64::INFINITY),
        "-inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn is_finite(text: &str) -> bool {
    f64::from_str(text).is_ok_and(f64::is_finite)
}
