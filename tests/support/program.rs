//! Running `polyphony` from tests.

use std::path::Path;
use std::process::{Command, Output};

/// The program `polyphony` with an empty environment.
pub(crate) fn polyphony() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polyphony"));
    command.env_clear();
    command
}

/// Runs a command and returns its output, whether it succeeds or not.
pub(crate) fn run(words: &[&str]) -> Output {
    polyphony().args(words).output().unwrap()
}

/// Runs a command that must succeed and returns its stdout.
pub(crate) fn done(words: &[&str]) -> String {
    let output = run(words);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A path as a command-line argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The result of a SQL query on a store, as CSV.
pub(crate) fn query(store: &Path, sql: &str) -> String {
    done(&["sql", "--store", text(store), "--format", "csv", "-c", sql])
}
