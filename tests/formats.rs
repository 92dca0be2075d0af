//! Row formats: every command that reads rows reads every format, compressed or not, with or without a BOM.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use support::{done, query, run, text};

const ROWS: [(&str, &str, &str, i64); 3] = [
    (
        "m",
        "A door.",
        "It opened,\n\"slowly\"; a\tlight | came.",
        3,
    ),
    ("m", "A door.", "It stayed shut.", 1),
    ("m", "A caf\u{e9}.", "No one came.", 2),
];

/// The rows as JSON objects.
fn json_rows() -> Vec<String> {
    let row = |(model, prompt, response, votes)| {
        let row = serde_json::json!({
            "model": model, "prompt": prompt, "response": response, "votes": votes,
        });
        row.to_string()
    };
    ROWS.map(row).into()
}

/// The rows as a text with a header, separated by commas or tabs.
fn separated(by: &str) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row = |(model, prompt, response, votes): (&str, &str, &str, i64)| {
        [
            quote(model),
            quote(prompt),
            quote(response),
            votes.to_string(),
        ]
        .join(by)
    };
    let header = ["model", "prompt", "response", "votes"].join(by);
    [header]
        .into_iter()
        .chain(ROWS.map(row))
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

/// Writes the rows as a Parquet file.
fn parquet(path: &Path) {
    let texts = |column: fn(&(&'static str, &'static str, &'static str, i64)) -> &'static str| {
        Arc::new(StringArray::from_iter_values(ROWS.iter().map(column))) as ArrayRef
    };
    let votes = Int64Array::from_iter_values(ROWS.iter().map(|row| row.3));
    let batch = RecordBatch::try_from_iter([
        ("model", texts(|row| row.0)),
        ("prompt", texts(|row| row.1)),
        ("response", texts(|row| row.2)),
        ("votes", Arc::new(votes) as ArrayRef),
    ])
    .unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes the same rows in every format, and returns the files.
fn files(folder: &Path) -> Vec<PathBuf> {
    let lines = json_rows().join("\n");
    let array = format!("[{}]", json_rows().join(",\n"));
    let texts = [
        ("lines.jsonl", lines.clone()),
        ("lines.ndjson", lines.clone()),
        ("lines.json", lines),
        (
            "document.json",
            format!("{{\"version\": 1, \"rows\": {array}}}"),
        ),
        ("array.json", array),
        ("comma.csv", separated(",")),
        ("semicolon.csv", separated(";")),
        ("tab.csv", separated("\t")),
        ("bar.csv", separated("|")),
        ("tab.tsv", separated("\t")),
    ];
    let mut files = vec![folder.join("rows.parquet")];
    parquet(&files[0]);
    for (name, text) in texts {
        let mut write = |name: String, bytes: &[u8]| {
            files.push(folder.join(name));
            fs::write(files.last().unwrap(), bytes).unwrap();
        };
        write(name.to_owned(), text.as_bytes());
        let with_bom = format!("\u{feff}{text}");
        let packed = zstd::encode_all(with_bom.as_bytes(), 1).unwrap();
        write(format!("{name}.zst"), &packed);
    }
    files
}

#[test]
fn every_command_reads_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = folder.path().join("inputs");
    fs::create_dir(&inputs).unwrap();
    let expected: Vec<String> = {
        let mut texts: Vec<String> = ROWS.iter().map(|row| row.2.to_owned()).collect();
        texts.sort();
        texts
    };
    for (number, file) in files(&inputs).iter().enumerate() {
        let file = text(file);
        let at = |name: &str| folder.path().join(format!("{name}{number}"));
        let json = |sql: &str| {
            let rows = done(&["sql", "--format", "json", "-c", sql]);
            serde_json::from_str::<serde_json::Value>(&rows).unwrap()
        };
        // sql
        let rows = json(&format!(
            "SELECT response, votes + 1 AS more FROM '{file}' ORDER BY response"
        ));
        let texts = |rows: &serde_json::Value| -> Vec<String> {
            let rows = rows.as_array().unwrap().iter();
            rows.map(|row| row["response"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(texts(&rows), expected, "sql: {file}");
        assert_eq!(rows[0]["more"], 4, "sql: {file}");
        // ingest
        let store = at("store");
        let columns = "prompt=prompt,response=response,score=votes";
        done(&[
            "ingest",
            file,
            "--store",
            text(&store),
            "--columns",
            columns,
        ]);
        let counts = "SELECT count(*) AS n, sum(score) AS s FROM responses";
        assert_eq!(query(&store, counts), "n,s\n3,6.0\n", "ingest: {file}");
        // embed
        let out = at("embedded").with_extension("parquet");
        done(&[
            "embed",
            file,
            "--column",
            "response",
            "--model",
            "builtin:words",
            "--out",
            text(&out),
        ]);
        let embedded = json(&format!(
            "SELECT response FROM '{}' WHERE embedding IS NOT NULL ORDER BY response",
            text(&out)
        ));
        assert_eq!(texts(&embedded), expected, "embed: {file}");
        // eval
        let report = at("report");
        done(&["eval", file, "--out", text(&report)]);
        let report = fs::read_to_string(report.join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["inputs"][0]["responses"], 3, "eval: {file}");
    }
}

#[test]
fn sql_errors_name_the_unreadable_file_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let cases = [
        (
            text(&folder.path().join("gone.parqet")).to_owned(),
            "no such file: check the path",
        ),
        (write("a.txt", b"x"), "unknown file format"),
        (
            write("latin1.csv", b"a,b\ncaf\xe9,1\n"),
            "its text is Latin-1 or Windows-1252, not UTF-8",
        ),
        (
            write("odd.csv", b"a,b\n1,2\n3\n"),
            "row 3 has not as many fields as the header",
        ),
        (
            write("odd.jsonl", b"{\"a\":1}\n{\"a\":\n"),
            "row 2 is not a JSON object (EOF",
        ),
        (
            write("odd.json", b"[{\"a\":1},"),
            "is not a JSON array (EOF",
        ),
    ];
    for (file, cause) in cases {
        let output = run(&["sql", "-c", &format!("SELECT * FROM '{file}'")]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(cause) && errors.contains(&file), "{errors}");
        assert_eq!(output.status.code(), Some(1), "{errors}");
    }
}

#[test]
fn latin1_files_are_errors_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.csv");
    fs::write(&path, b"prompt,response,votes\na,caf\xe9,1\n").unwrap();
    let (file, out) = (text(&path), text(folder.path()).to_owned() + "/out.parquet");
    let columns = "prompt=prompt,response=response,score=votes";
    for arguments in [
        vec!["ingest", file, "--store", &out, "--columns", columns],
        vec![
            "embed",
            file,
            "--column",
            "response",
            "--model",
            "builtin:words",
            "--out",
            &out,
        ],
        vec!["eval", file, "--out", &out],
    ] {
        let output = run(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("Latin-1"), "{arguments:?}: {errors}");
        assert!(!output.status.success());
    }
}
