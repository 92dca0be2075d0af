//! SQL shell over a pipe: statements and meta commands from standard input.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use super::{polyphony, store};

/// Runs `polyphony sql` with a text on stdin; returns exit code, stdout and stderr as one text.
fn pipe(words: &[&str], input: &str) -> String {
    let folder = store();
    let mut child = polyphony(folder.path())
        .args([&["sql"], words].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut text = String::new();
    let _ = write!(
        text,
        "$ polyphony sql {}\n{input}\nexit {}\n{}{}",
        words.join(" "),
        output.status.code().unwrap(),
        read(&output.stdout),
        read(&output.stderr)
    );
    text
}

#[test]
fn statements_and_meta_commands_of_a_pipe() {
    let input = "\\d\n\
                 SELECT tag, count(*) AS n\nFROM prompts GROUP BY tag ORDER BY tag; SELECT ';' AS semicolon;\n\
                 \\o csv\nSELECT 1 AS one;\n\\o json\nSELECT 1 AS one;\n\
                 \\o table\n\\x on\nSELECT 'two\nlines' AS text, 1 AS one;\n\\x off\n\
                 \\d sources\n\\h pairs_by\n\\?\n\\q\nSELECT 'not reached';\n";
    insta::assert_snapshot!(pipe(&["--store", "store"], input));
}

#[test]
fn formats_of_results() {
    let query = "SELECT * FROM (VALUES (1, 'a,b'), (NULL, 'c\td')) AS t(n, text) ORDER BY n; \
                 SELECT 1 AS none WHERE false;";
    let printed = ["table", "csv", "tsv", "json", "ndjson"]
        .map(|format| pipe(&["--format", format], query))
        .join("\n");
    insta::assert_snapshot!(printed);
}

#[test]
fn a_pipe_stops_at_the_first_error() {
    let failures = [
        "SELECT 1 AS one;\nSELEC 2;\nSELECT 3;",
        "SELECT 1 AS one;\nSELECT 'open",
        "\\list\nSELECT 1 AS one;",
        "\\o results.csv",
        "\\i gone.sql",
        "\\d gone",
    ];
    insta::assert_snapshot!(failures.map(|input| pipe(&[], input)).join("\n"));
}
