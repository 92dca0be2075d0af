//! Running `polyphony` from tests.

use std::path::Path;
use std::process::{Command, Output};

/// The program `polyphony` with an empty environment: that of this build, or of the environment variable
/// `POLYPHONY_TEST_BINARY`, as a release build for models that are slow without optimization.
pub(crate) fn polyphony() -> Command {
    let built = || env!("CARGO_BIN_EXE_polyphony").into();
    let mut command = Command::new(std::env::var_os("POLYPHONY_TEST_BINARY").unwrap_or_else(built));
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
