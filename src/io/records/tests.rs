//! Tests of the row reader: every format, malformed rows, unreadable files, inferred column types.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{
    ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type};
use serde_json::json;

use super::*;
use crate::progress::NoProgress;

type Rows = Vec<(i64, std::result::Result<Value, String>)>;

fn rows_with(file: &RowFile, options: &ReadOptions<'_>) -> Result<Rows> {
    let mut rows = Vec::new();
    let outcome = read(file, options, &NoProgress, &mut |(number, row)| {
        rows.push((number, row.map(Value::Object).map_err(str::to_owned)));
        Ok(())
    })?;
    outcome.require_complete(&file.path)?;
    Ok(rows)
}

fn open(name: &str, bytes: &[u8]) -> Result<(tempfile::TempDir, RowFile)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let file = RowFile::open(&path)?;
    Ok((folder, file))
}

fn values(name: &str, bytes: &[u8]) -> Vec<Value> {
    let (_folder, file) = open(name, bytes).unwrap();
    let rows = rows_with(&file, &ReadOptions::default()).unwrap();
    rows.into_iter().map(|(_, row)| row.unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_format_gives_the_same_rows() {
    let expected = [
        json!({"t": "one\ntwo, \"x\"", "s": "1"}),
        json!({"t": "\u{e9}", "s": "2"}),
    ];
    let lines = "{\"t\":\"one\\ntwo, \\\"x\\\"\",\"s\":\"1\"}\n\n{\"t\":\"\u{e9}\",\"s\":\"2\"}\n";
    let array = "[{\"t\":\"one\\ntwo, \\\"x\\\"\",\"s\":\"1\"},\n {\"t\":\"\u{e9}\",\"s\":\"2\"}]";
    let csv = "t,s\n\"one\ntwo, \"\"x\"\"\",1\n\u{e9},2\n";
    let separated = |by: &str| {
        csv.replace("t,s", &format!("t{by}s"))
            .replace("\",1", &format!("\"{by}1"))
            .replace(",2", &format!("{by}2"))
    };
    let cases = [
        ("a.jsonl", lines.to_owned()),
        ("a.ndjson", lines.to_owned()),
        ("a.json", lines.to_owned()),
        ("a.json", array.to_owned()),
        ("a.jsonl", array.to_owned()),
        ("a.json", format!("{{\"meta\": [1], \"data\": {array}}}")),
        ("a.csv", csv.to_owned()),
        ("a.csv", separated(";")),
        ("a.csv", separated("\t")),
        ("a.csv", separated("|")),
        ("a.tsv", separated("\t")),
    ];
    for (name, text) in cases {
        let with_bom = format!("\u{feff}{text}");
        assert_eq!(values(name, text.as_bytes()), expected, "{name}: {text}");
        assert_eq!(
            values(name, with_bom.as_bytes()),
            expected,
            "{name} with a BOM"
        );
        let packed = gzip(with_bom.as_bytes());
        assert_eq!(
            values(&format!("{name}.gz"), &packed),
            expected,
            "{name}.gz"
        );
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_eq!(
            values(&format!("{name}.zst"), &packed),
            expected,
            "{name}.zst"
        );
    }
}

#[test]
fn columns_come_in_the_order_of_the_file() {
    let cases: [(&str, &str); 5] = [
        ("a.jsonl", "{\"t\":1,\"s\":NaN}\n"),
        ("a.json", "[{\"t\":1,\"s\":2},{\"u\":1}]"),
        ("a.csv", "t;s\n1;2\n"),
        ("a.csv", "\u{feff}t,s\n1,2\n"),
        ("a.tsv", "t\ts\n1\t2\n"),
    ];
    for (name, text) in cases {
        let (_folder, file) = open(name, text.as_bytes()).unwrap();
        assert_eq!(
            columns_of(&file.path, file.format).unwrap(),
            ["t", "s"],
            "{name}"
        );
    }
}

#[test]
fn only_requested_columns_are_read() {
    let columns: &[&str] = &["s", "z"];
    let options = ReadOptions {
        columns: Some(columns),
        ..ReadOptions::default()
    };
    for (name, text) in [
        ("a.jsonl", "{\"t\":{\"s\":3},\"s\":\"1\"}"),
        ("a.json", "[{\"t\":[3],\"s\":\"1\"}]"),
        ("a.csv", "t,s\n3,1\n"),
    ] {
        let (_folder, file) = open(name, text.as_bytes()).unwrap();
        let rows = rows_with(&file, &options).unwrap();
        assert_eq!(rows.len(), 1, "{name}");
        assert_eq!(rows[0].1, Ok(json!({"s": "1"})), "{name}");
    }
}

#[test]
fn an_object_that_is_a_row_is_not_split_into_rows() {
    let text = br#"{"messages": [{"role": "user"}]}"#;
    assert_eq!(values("a.json", text), [json!({"role": "user"})]);
    let (_folder, file) = open("a.json", text).unwrap();
    let options = ReadOptions {
        is_row: &|fields| fields.contains_key("messages"),
        ..ReadOptions::default()
    };
    assert_eq!(rows_with(&file, &options).unwrap().len(), 1);
}

#[test]
fn malformed_rows_are_returned_as_text_with_their_line_number() {
    let rows = |name: &str, text: &[u8]| {
        let (_folder, file) = open(name, text).unwrap();
        rows_with(&file, &ReadOptions::default()).unwrap()
    };
    let lines = rows("a.jsonl", b"{\"a\":1}\nno\n\n{\"a\":2}");
    assert_eq!(lines[1], (2, Err("no".to_owned())));
    assert_eq!(lines[2], (4, Ok(json!({"a": 2}))));
    let csv = rows("a.csv", b"a,b\n1,2\n3\n4,5\n");
    assert_eq!(csv[1], (3, Err("3".to_owned())));
    assert_eq!(csv[2], (4, Ok(json!({"a": "4", "b": "5"}))));
    let array = rows("a.json", b"[{\"a\":1}, 7]");
    assert_eq!(array[1], (2, Err("7".to_owned())));
}

#[test]
fn unreadable_files_are_errors() {
    let message = |name: &str, bytes: &[u8]| {
        let rows =
            open(name, bytes).and_then(|(_f, file)| rows_with(&file, &ReadOptions::default()));
        rows.unwrap_err().to_string()
    };
    let latin1 = message("a.csv", b"a,b\ncaf\xe9,1\n");
    assert!(latin1.contains("Latin-1"), "{latin1}");
    let utf16: Vec<u8> = "\u{feff}a,b\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(message("a.csv", &utf16).contains("UTF-16"));
    assert!(message("a.jsonl", &utf16).contains("UTF-16"));
    assert!(message("a.json", b"[{\"a\":1}, ").contains("not a JSON array"));
    assert!(message("a.csv", b"a,b\n1,\"x").contains("does not end"));
    assert!(message("a.parquet", b"PAR1").contains("not a Parquet file"));
    assert!(message("a.txt", b"x").contains("unknown file format"));
}

#[test]
fn parquet_values_equal_json_values() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("a.parquet");
    let score = Float32Array::from(vec![Some(0.1), None, Some(f32::NAN), Some(f32::INFINITY)]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(2)]),
    ]);
    let text: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        None,
        Some(""),
        Some("b"),
    ]));
    let field = Arc::new(Field::new("content", DataType::Utf8, true));
    let chat = StructArray::from(vec![(field, Arc::clone(&text))]);
    let columns: [(&str, ArrayRef); 4] = [
        ("score", Arc::new(score)),
        ("list", Arc::new(lists)),
        ("text", text),
        ("chat", Arc::new(chat)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let rows = rows_with(&RowFile::open(&path).unwrap(), &ReadOptions::default()).unwrap();
    let rows: Vec<Value> = rows.into_iter().map(|(_, row)| row.unwrap()).collect();
    let first = json!({"score": 0.1, "list": [1, null], "text": "a", "chat": {"content": "a"}});
    assert_eq!(rows[0], first);
    assert_eq!(rows[1], json!({"chat": {}}));
    assert!(non_finite(&rows[2]["score"]).unwrap().is_nan());
    assert_eq!(rows[2]["list"], json!([]));
    assert_eq!(non_finite(&rows[3]["score"]), Some(f64::INFINITY));
}

#[test]
fn column_types_are_inferred_from_all_rows() {
    let schema = |name: &str, text: &str| {
        let (_folder, file) = open(name, text.as_bytes()).unwrap();
        let schema = TableSchema::infer(&file, &NoProgress).unwrap();
        let mut batches = Vec::new();
        read_batches(&file, &schema, &NoProgress, &mut |batch| {
            batches.push(batch);
            Ok(())
        })
        .unwrap();
        assert_eq!(batches.len(), 1, "{name}");
        batches.remove(0)
    };
    let csv = schema(
        "a.csv",
        "i,f,b,d,t,s,n\n1,2,true,2020-01-31,2020-01-31T10:00:00,x,\n,NaN,false,2021-02-28,2021-02-28T10:00:00,7,\n",
    );
    let types: Vec<String> = csv
        .schema()
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    assert_eq!(
        types,
        [
            "Int64",
            "Float64",
            "Boolean",
            "Date32",
            "Timestamp(ms)",
            "Utf8",
            "Utf8"
        ]
    );
    assert!(csv.column(0).is_null(1));
    assert!(
        csv.column(1)
            .as_primitive::<Float64Type>()
            .value(1)
            .is_nan()
    );
    assert_eq!(csv.column(5).as_string::<i32>().value(1), "7");
    let json = schema(
        "a.jsonl",
        "{\"x\":1,\"m\":\"a\",\"l\":[1]}\n{\"x\":1.5,\"m\":{\"k\":2},\"l\":[null,2.5],\"o\":{\"k\":NaN}}\n",
    );
    let names: Vec<String> = json
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["x", "m", "l", "o"]);
    assert_eq!(json.schema().field(0).data_type(), &DataType::Float64);
    assert_eq!(json.column(1).as_string::<i32>().value(1), "{\"k\":2}");
    assert_eq!(
        json.schema().field(2).data_type(),
        &DataType::new_list(DataType::Float64, true)
    );
}
