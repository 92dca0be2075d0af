//! SQL logic tests: runs the `.slt` files next to this file against the functions and the pipeline's
//! SQL.
//!
//! In addition to plain SQL, a record may run a file of the pipeline on the test's tables: `RUN
//! 10_candidates.sql WITH seed = 42, tokenizer = ''` (values are SQL literals). `cargo test -p
//! polyphony-sqllogictest -- --complete` replaces the expected results by the actual ones.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};

use datafusion_sqllogictest::{df_value_validator, value_normalizer};
use libtest_mimic::{Arguments, Failed, Trial};
use polyphony_engine::session;
use polyphony_sqllogictest::Polyphony;
use sqllogictest::strict_column_validator;

fn main() {
    let complete = std::env::args().any(|argument| argument == "--complete");
    let arguments = std::env::args().filter(|argument| argument != "--complete");
    let arguments = Arguments::from_iter(arguments);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "slt"))
        .collect();
    files.sort();
    let trials = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Trial::test(name, move || run(&path, complete))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(path: &Path, complete: bool) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let context = session::bare(&session::MemoryLimit::pipeline())?;
        polyphony_eval::functions::register_all(&context);
        let mut runner =
            sqllogictest::Runner::new(|| async { Ok(Polyphony::new(context.clone())) });
        runner.with_column_validator(strict_column_validator);
        runner.with_normalizer(value_normalizer);
        runner.with_validator(df_value_validator);
        if complete {
            runner
                .update_test_file(
                    path,
                    " ",
                    df_value_validator,
                    value_normalizer,
                    strict_column_validator,
                )
                .await
                .map_err(|error| Failed::from(error.to_string()))
        } else {
            runner
                .run_file_async(path)
                .await
                .map_err(|error| Failed::from(error.to_string()))
        }
    })
}
