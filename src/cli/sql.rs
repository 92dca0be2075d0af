//! `polyphony sql`: a query, a file, or a shell on a store?

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use datafusion_cli::exec::{exec_from_commands, exec_from_repl};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use polyphony_engine::datafusion::error::DataFusionError;
use polyphony_engine::datafusion::prelude::SessionContext;
use polyphony_engine::sql::{self, SqlPipeline};
use polyphony_engine::store::Store;
use polyphony_engine::{Error, row_table, session};

use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store's folder; without it, only functions and files
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Run this query and leave
    #[arg(
        short,
        long,
        value_name = "QUERY",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    command: Option<String>,
    /// Run this file of queries, stop at the first that fails
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Csv,
    Tsv,
    Json,
    Ndjson,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Held to the end: what it names is not removed while it is read.
    let store = arguments.store.as_deref().map(Store::open).transpose()?;
    let context = match &store {
        Some(store) => {
            let context = session::with_store(store, &session::MemoryLimit::unbounded())?;
            session::add_quarantine(&context, &SqlPipeline::built_in()).await?;
            context
        }
        None => session::bare(&session::MemoryLimit::unbounded())?,
    };
    polyphony_eval::udf::register_all(&context)?;
    // `FROM 'file.parquet'` reads a file.
    let context = row_table::enable(context);
    let mut print = PrintOptions {
        format: match arguments.format {
            Format::Table => PrintFormat::Table,
            Format::Csv => PrintFormat::Csv,
            Format::Tsv => PrintFormat::Tsv,
            Format::Json => PrintFormat::Json,
            Format::Ndjson => PrintFormat::NdJson,
        },
        quiet: true,
        maxrows: MaxRows::Unlimited,
        color: std::io::stdout().is_terminal(),
        instrumented_registry: Arc::default(),
    };
    if let Some(query) = arguments.command {
        return statements(&context, "-c", &query, &print).await;
    }
    if let Some(file) = arguments.file {
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        return statements(&context, &file.display().to_string(), &text, &print).await;
    }
    if !std::io::stdin().is_terminal() {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read stdin")?;
        return statements(&context, "stdin", &text, &print).await;
    }
    greet(arguments.store.as_deref());
    print.quiet = false;
    print.maxrows = MaxRows::Limited(40);
    exec_from_repl(&context, &mut print)
        .await
        .context("the shell stopped")
}

/// Runs statements one by one; an error names where it stood.
async fn statements(
    context: &SessionContext,
    place: &str,
    text: &str,
    print: &PrintOptions,
) -> anyhow::Result<()> {
    let failed = |statement, cause| Error::Sql {
        file: place.to_owned(),
        statement,
        cause: Box::new(cause),
    };
    let parsed = sql::split(text).map_err(|error| failed(1, error))?;
    for (number, statement) in (1..).zip(parsed) {
        match exec_from_commands(context, vec![statement], print).await {
            // A reader that closed the pipe has what it wanted.
            Err(error) if is_closed_pipe(&error) => return Ok(()),
            ended => ended.map_err(|error| failed(number, error))?,
        }
    }
    Ok(())
}

/// Arrow's writers of CSV and JSON hand on the system's answer as text only.
fn is_closed_pipe(error: &DataFusionError) -> bool {
    error.strip_backtrace().contains("Broken pipe")
}

fn greet(store: Option<&Path>) {
    let store = store.map_or_else(|| "no store".to_owned(), |path| path.display().to_string());
    terminal::talk(&format!(
        "polyphony {} on {store}: \\d lists tables, \\d NAME describes one, \\h lists functions, \
         \\q leaves",
        env!("CARGO_PKG_VERSION")
    ));
}
