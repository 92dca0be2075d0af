//! `polyphony sql`: runs a query, a file of queries, standard input, or an interactive shell.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use polyphony_engine::sql::SqlPipeline;
use polyphony_engine::store::Store;
use polyphony_engine::{Error, row_table, session};

use super::shell::{Format, Shell};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder of the store; without it, only functions and files can be queried
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Run this query and exit
    #[arg(
        short,
        long,
        value_name = "QUERY",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    command: Option<String>,
    /// Run the statements of this file up to the first that fails
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Open until the command ends, so that files of the store are not removed while they are read.
    let store = arguments.store.as_deref().map(Store::open).transpose()?;
    let context = match &store {
        Some(store) => {
            let context = session::with_store(store, &session::MemoryLimit::unbounded())?;
            session::add_quarantine(&context, &SqlPipeline::built_in()).await?;
            context
        }
        None => session::bare(&session::MemoryLimit::unbounded())?,
    };
    polyphony_eval::measures::udaf::register_all(&context);
    // Enables `FROM 'file.parquet'`: a file as a table.
    let mut shell = Shell::new(row_table::enable(&context), arguments.format);
    if let Some(query) = arguments.command {
        return shell.script("-c", &query).await;
    }
    if let Some(file) = arguments.file {
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        return shell.script(&file.display().to_string(), &text).await;
    }
    if !std::io::stdin().is_terminal() {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read stdin")?;
        return shell.script("stdin", &text).await;
    }
    shell.interactive(arguments.store.as_deref()).await
}
