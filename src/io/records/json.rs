//! JSON rows: an object per line, an array of objects, or one object that contains them; bare `NaN` is
//! accepted.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::{OnRow, ReadOptions};
use crate::format::RowFile;
use crate::hash::sha256_file;
use crate::lines::{self, ReadOutcome};
use crate::progress::Progress;
use crate::{Error, Result};

/// Reads the rows of a JSON file.
pub(super) fn read(
    file: &RowFile,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<ReadOutcome> {
    let path = file.path.as_path();
    if starts_with_bracket(path)? {
        read_array(path, options, progress, each)?;
    } else if let Some(document) = single_object(path)? {
        for (number, row) in (1..).zip(rows_of(document, options)) {
            give(number, project(row, options.columns), each)?;
        }
    } else {
        return read_lines(path, options, progress, each);
    }
    Ok(ReadOutcome {
        sha256: sha256_file(path)?,
        truncated: None,
    })
}

/// The keys of the first row, in file order.
pub(super) fn columns(path: &Path) -> Result<Vec<String>> {
    if starts_with_bracket(path)? {
        let names = RefCell::new(Vec::new());
        let opened = lines::open(path, &Arc::default())?;
        let reader = NonFiniteReader::new(opened.reader);
        let mut array = Deserializer::from_reader(BufReader::new(reader));
        // The visitor stops after the first row, which the deserializer reports as an error.
        drop(array.deserialize_seq(FirstKeys(&names)));
        opened.failure.check()?;
        return Ok(names.into_inner());
    }
    if let Some(document) = single_object(path)? {
        let first = rows_of(document, &ReadOptions::default())
            .into_iter()
            .next();
        let keys = first.and_then(|row| row.as_object().map(|row| row.keys().cloned().collect()));
        return Ok(keys.unwrap_or_default());
    }
    let start = lines::start(path, 1 << 20)?;
    let keys = start.split(|byte| *byte == b'\n').find_map(|line| {
        let keys = |line: &[u8]| serde_json::from_slice::<Keys>(line).ok();
        keys(line).or_else(|| keys(&replace_non_finite_literals(line)))
    });
    Ok(keys.map(|Keys(keys)| keys).unwrap_or_default())
}

/// Whether a JSON file has an object per line, not one array or object that contains the rows.
///
/// # Errors
/// When it cannot be read.
pub fn is_lines(path: &Path) -> Result<bool> {
    Ok(!starts_with_bracket(path)? && single_object(path)?.is_none())
}

fn read_lines(
    path: &Path,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<ReadOutcome> {
    let position = Arc::new(AtomicU64::new(0));
    let mut lines = lines::open(path, &position)?.lines();
    let parse = |line: &[u8]| {
        let mut json = Deserializer::from_slice(line);
        let fields = Fields(options.columns).deserialize(&mut json)?;
        json.end().map(|()| fields)
    };
    for block in lines.by_ref() {
        for (number, line) in block.lines() {
            match parse(line).or_else(|_| parse(&replace_non_finite_literals(line))) {
                Ok(fields) => each((number, Ok(fields)))?,
                Err(_) => each((number, Err(&String::from_utf8_lossy(line))))?,
            }
        }
        progress.set_position(position.load(Ordering::Relaxed));
    }
    lines.outcome()
}

/// Whether the first character opens an array.
fn starts_with_bracket(path: &Path) -> Result<bool> {
    let opened = lines::open(path, &Arc::default())?;
    let mut bytes = BufReader::new(opened.reader).bytes();
    let first = bytes.find(|byte| !matches!(byte, Ok(byte) if byte.is_ascii_whitespace()));
    opened.failure.check()?;
    Ok(matches!(first, Some(Ok(b'['))))
}

/// Reads an array as a stream, with one row in memory at a time.
fn read_array(
    path: &Path,
    options: &ReadOptions<'_>,
    progress: &dyn Progress,
    each: &mut OnRow<'_>,
) -> Result<()> {
    let position = Arc::new(AtomicU64::new(0));
    let opened = lines::open(path, &position)?;
    let reader = NonFiniteReader::new(opened.reader);
    let mut json = Deserializer::from_reader(BufReader::new(reader));
    let mut failure = None;
    let rows = ArrayRows {
        options,
        each,
        after_row: &|| progress.set_position(position.load(Ordering::Relaxed)),
        failure: &mut failure,
    };
    let read = json.deserialize_seq(rows).and_then(|()| json.end());
    opened.failure.check()?;
    match (failure, read) {
        (Some(failure), _) => Err(failure),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => {
            let message = format!("is not a JSON array ({error})");
            Err(Error::input(path, message, "correct it or fetch it again"))
        }
    }
}

/// The object in a `.json` file with a single value; `None` for JSON lines.
fn single_object(path: &Path) -> Result<Option<Value>> {
    let name = path.to_string_lossy().to_lowercase();
    let endings = [".json", ".json.gz", ".json.zst"];
    if !endings.iter().any(|ending| name.ends_with(ending)) {
        return Ok(None);
    }
    let opened = lines::open(path, &Arc::default())?;
    let reader = NonFiniteReader::new(opened.reader);
    let mut values = Deserializer::from_reader(BufReader::new(reader)).into_iter::<Value>();
    let only = match values.next() {
        Some(Ok(value)) => values.next().is_none().then_some(value),
        _ => None,
    };
    opened.failure.check()?;
    Ok(only)
}

/// The rows of a JSON document: the items of the only list of objects in it. The document itself is the
/// row when `is_row` accepts it, or it has no such list, or several.
fn rows_of(document: Value, options: &ReadOptions<'_>) -> Vec<Value> {
    let Value::Object(mut object) = document else {
        return vec![document];
    };
    let is_rows = |value: &Value| match value.as_array() {
        Some(items) => !items.is_empty() && items.iter().all(Value::is_object),
        None => false,
    };
    let lists = object.iter().filter(|(_, value)| is_rows(value));
    let names: Vec<String> = lists.map(|(name, _)| name.clone()).collect();
    if let [name] = names.as_slice()
        && !(options.is_row)(&object)
        && let Some(Value::Array(rows)) = object.remove(name)
    {
        return rows;
    }
    vec![Value::Object(object)]
}

fn project(row: Value, columns: Option<&[&str]>) -> Value {
    match (row, columns) {
        (Value::Object(mut fields), Some(columns)) => {
            fields.retain(|name, _| columns.contains(&name.as_str()));
            Value::Object(fields)
        }
        (row, _) => row,
    }
}

fn give(number: i64, row: Value, each: &mut OnRow<'_>) -> Result<()> {
    match row {
        Value::Object(fields) => each((number, Ok(fields))),
        other => each((number, Err(&other.to_string()))),
    }
}

/// Visitor of an array's elements that calls `each` for every element.
struct ArrayRows<'a, 'b> {
    options: &'a ReadOptions<'b>,
    each: &'a mut OnRow<'b>,
    after_row: &'a dyn Fn(),
    failure: &'a mut Option<Error>,
}

impl<'de> Visitor<'de> for ArrayRows<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> std::result::Result<(), A::Error> {
        let mut number = 0;
        while let Some(row) = rows.next_element::<Value>()? {
            number += 1;
            if let Err(error) = give(number, project(row, self.options.columns), self.each) {
                *self.failure = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
            (self.after_row)();
        }
        Ok(())
    }
}

/// Deserializer of an object that skips the columns that are not requested.
struct Fields<'a>(Option<&'a [&'a str]>);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut entries: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if self
                .0
                .is_none_or(|columns| columns.contains(&name.as_str()))
            {
                fields.insert(name, entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

/// The keys of an object in file order.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Keys, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, IgnoredAny)) = entries.next_entry()? {
            keys.push(key);
        }
        Ok(Keys(keys))
    }
}

/// Visitor that collects the keys of an array's first element.
struct FirstKeys<'a>(&'a RefCell<Vec<String>>);

impl<'de> Visitor<'de> for FirstKeys<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> std::result::Result<(), A::Error> {
        if let Some(Keys(keys)) = rows.next_element()? {
            *self.0.borrow_mut() = keys;
        }
        Ok(())
    }
}

/// The key of the object that represents a non-finite number in a row. JSON has no such number, null
/// would mean a missing value, and a string would be read as text.
const NON_FINITE_KEY: &str = "$non_finite";

/// The literals that Python's `json` writes for non-finite numbers.
const LITERALS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// The length of the longest literal in bytes.
const MAX_LITERAL: usize = "-Infinity".len();

/// The value that represents NaN or an infinity in a row.
pub(super) fn non_finite_value(number: f64) -> Value {
    let literal = match number {
        number if number.is_nan() => "NaN",
        number if number < 0.0 => "-Infinity",
        _ => "Infinity",
    };
    serde_json::json!({ NON_FINITE_KEY: literal })
}

/// The number, if the value represents NaN or an infinity; the inverse of the replacement.
pub fn non_finite(value: &Value) -> Option<f64> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    match fields.get(NON_FINITE_KEY)?.as_str()? {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// JSON text of rows with the bare literals `NaN`, `Infinity` and `-Infinity` as they were read: the inverse
/// of [`replace_non_finite_literals`].
pub fn restore_non_finite_literals(mut json: String) -> String {
    if json.contains(NON_FINITE_KEY) {
        for literal in LITERALS {
            // Within a string the quotes would be escaped.
            let marker = format!("{{\"{NON_FINITE_KEY}\":\"{literal}\"}}");
            json = json.replace(&marker, literal);
        }
    }
    json
}

/// JSON text with the bare literals `NaN`, `Infinity` and `-Infinity` replaced, so that it can be
/// parsed; [`non_finite`] recognises the replacements.
pub fn replace_non_finite_literals(json: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(json.len() + 32);
    Replacer::default().push(json, true, &mut replaced);
    replaced
}

/// Replaces the literals in a text that arrives in pieces; the state tracks whether it is in a string.
#[derive(Default)]
struct Replacer {
    in_string: bool,
    escaped: bool,
}

impl Replacer {
    /// Appends the text to `replaced` and returns the number of consumed bytes. Before the end of the
    /// input, last bytes that may be the start of a literal are not consumed.
    fn push(&mut self, json: &[u8], at_end: bool, replaced: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(&byte) = json.get(at) {
            if self.escaped || self.in_string {
                let escapes = !self.escaped && byte == b'\\';
                self.in_string = self.escaped || byte != b'"';
                self.escaped = escapes;
                replaced.push(byte);
                at += 1;
                continue;
            }
            if matches!(byte, b'N' | b'I' | b'-') {
                if !at_end && json.len() - at < MAX_LITERAL {
                    break;
                }
                let rest = &json[at..];
                let literal = LITERALS
                    .into_iter()
                    .find(|l| rest.starts_with(l.as_bytes()));
                if let Some(literal) = literal {
                    replaced.extend(format!("{{\"{NON_FINITE_KEY}\":\"{literal}\"}}").bytes());
                    at += literal.len();
                    continue;
                }
            }
            self.in_string = byte == b'"';
            replaced.push(byte);
            at += 1;
        }
        at
    }
}

/// Reader that replaces the literals of non-finite numbers in JSON.
struct NonFiniteReader<R> {
    inner: R,
    replacer: Replacer,
    raw: Vec<u8>,
    ready: Vec<u8>,
    position: usize,
    ended: bool,
}

impl<R> NonFiniteReader<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            replacer: Replacer::default(),
            raw: Vec::new(),
            ready: Vec::new(),
            position: 0,
            ended: false,
        }
    }
}

impl<R: Read> Read for NonFiniteReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.ready.len() && !self.ended {
            let before = self.raw.len();
            self.raw.resize(before + (1 << 16), 0);
            let read = self.inner.read(&mut self.raw[before..]);
            self.raw.truncate(before + *read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
            self.ready.clear();
            self.position = 0;
            let taken = self.replacer.push(&self.raw, self.ended, &mut self.ready);
            self.raw.drain(..taken);
        }
        let many = buffer.len().min(self.ready.len() - self.position);
        buffer[..many].copy_from_slice(&self.ready[self.position..self.position + many]);
        self.position += many;
        Ok(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_literals_are_restored_outside_of_strings() {
        let text = r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"{\"$non_finite\":\"NaN\"}"}"#;
        let replaced = replace_non_finite_literals(text.as_bytes());
        let value: Value = serde_json::from_slice(&replaced).unwrap();
        assert_eq!(restore_non_finite_literals(value.to_string()), text);
    }

    #[test]
    fn non_finite_literals_are_neither_null_nor_text() {
        let read = |json: &str| {
            serde_json::from_slice::<Value>(&replace_non_finite_literals(json.as_bytes()))
        };
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \"NaN\\", "d": -1}"#;
        let row = read(text).unwrap();
        assert!(non_finite(&row["a"]).unwrap().is_nan());
        assert_eq!(non_finite(&row["b"][0]), Some(f64::NEG_INFINITY));
        assert_eq!(non_finite(&row["b"][1]), Some(f64::INFINITY));
        assert_eq!(row["c"], "NaN \"NaN\\");
        assert_eq!(row["d"], -1);
        assert!(non_finite(&row["d"]).is_none());
        assert!(read("{\"a\": Nan}").is_err());
    }

    #[test]
    fn literals_are_replaced_across_read_boundaries() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let many = self.0.len().min(3);
                buffer[..many].copy_from_slice(&self.0[..many]);
                self.0 = &self.0[many..];
                Ok(many)
            }
        }
        let text = br#"[{"a": -Infinity}, {"a": "x\"NaN"}, {"a": NaN}]"#;
        let mut replaced = Vec::new();
        let mut reader = NonFiniteReader::new(Slow(text));
        reader.read_to_end(&mut replaced).unwrap();
        assert_eq!(replaced, replace_non_finite_literals(text));
    }
}
