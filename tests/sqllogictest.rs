//! Do the functions and the pipeline's SQL files do what `tests/sql/*.slt` say?
//!
//! Beside plain SQL a record may run a file of the pipeline on the tables that the test has made:
//! `RUN 10_candidates.sql WITH seed = 42, tokenizer = ''` (values are SQL literals).
//! `cargo test --test sqllogictest -- --complete` writes what is found as what is expected.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};

use datafusion_sqllogictest::{
    DFColumnType, DFOutput, DFSqlLogicTestError, DataFusion, convert_batches,
    convert_schema_to_types, df_value_validator, value_normalizer,
};
use indicatif::ProgressBar;
use libtest_mimic::{Arguments, Failed, Trial};
use polyphony_engine::datafusion::prelude::SessionContext;
use polyphony_engine::{session, sql};
use sqllogictest::strict_column_validator;

fn main() {
    let complete = std::env::args().any(|argument| argument == "--complete");
    let arguments = std::env::args().filter(|argument| argument != "--complete");
    let arguments = Arguments::from_iter(arguments);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
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
        let context = session::bare(&session::Limits::pipeline())?;
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

/// `DataFusion`, and `RUN file WITH ...`.
struct Polyphony {
    context: SessionContext,
    plain: DataFusion,
}

impl Polyphony {
    fn new(context: SessionContext) -> Self {
        let plain = DataFusion::new(context.clone(), PathBuf::new(), ProgressBar::hidden());
        Self { context, plain }
    }

    async fn script(&self, call: &str) -> Result<DFOutput, DFSqlLogicTestError> {
        let (file, values) = call.split_once(" WITH ").unwrap_or((call, ""));
        let mut options = sql::Options::new();
        for pair in values.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, literal) = pair.split_once('=').unwrap();
            let row = self
                .context
                .sql(&format!("SELECT {literal}"))
                .await?
                .collect()
                .await?;
            let value = polyphony_engine::datafusion::scalar::ScalarValue::try_from_array(
                row[0].column(0),
                0,
            )?;
            options.insert(name.trim().to_owned(), value);
        }
        let script = sql::Scripts::built_in().script(file.trim()).unwrap();
        let frame = script
            .frame(&self.context, &options)
            .await
            .map_err(|error| DFSqlLogicTestError::Other(error.to_string()))?;
        let schema = frame.schema().inner().clone();
        let batches = frame.collect().await?;
        Ok(DFOutput::Rows {
            types: convert_schema_to_types(schema.fields()),
            rows: convert_batches(&schema, batches, false)?,
        })
    }
}

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Polyphony {
    type Error = DFSqlLogicTestError;
    type ColumnType = DFColumnType;

    async fn run(&mut self, sql: &str) -> Result<DFOutput, Self::Error> {
        match sql.strip_prefix("RUN ") {
            Some(call) => self.script(call).await,
            None => sqllogictest::AsyncDB::run(&mut self.plain, sql).await,
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "polyphony"
    }
}
