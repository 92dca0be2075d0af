//! `polyphony sql`: runs a query, a file of queries, standard input, or an interactive shell.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use polyphony_engine::sql::{BUILT_IN, SqlPipeline};
use polyphony_engine::store::Store;
use polyphony_engine::{Error, row_table, session};
use polyphony_io::atomic::write_atomic;

use super::shell::{Format, Shell};
use super::terminal;

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
    /// Write the built-in SQL files of the pipeline to DIR, to be edited and passed with --sql; without DIR
    /// print them. A file that is there already and differs is kept
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "-", conflicts_with_all = ["store", "command", "file"])]
    print_pipeline: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(folder) = arguments.print_pipeline {
        return print_pipeline(&folder);
    }
    // Open until the command ends, so that files of the store are not removed while they are read.
    let store = arguments.store.as_deref().map(Store::open).transpose()?;
    let context = match &store {
        Some(store) => {
            let context = session::with_store(store, &session::MemoryLimit::unbounded())?;
            session::add_views(&context, &SqlPipeline::built_in()).await?;
            context
        }
        None => session::bare(&session::MemoryLimit::unbounded())?,
    };
    polyphony_eval::functions::register_all(&context);
    // Enables `FROM 'file.parquet'`: a file as a table.
    let mut shell = Shell::new(row_table::enable(&context), arguments.format);
    if let Some(query) = arguments.command {
        return shell.script("-c", &query).await;
    }
    if let Some(file) = arguments.file {
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        // Editors on Windows begin files with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').to_owned();
        return shell.script(&file.display().to_string(), &text).await;
    }
    if !std::io::stdin().is_terminal() {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read stdin")?;
        return shell.script("stdin", &text).await;
    }
    shell.interactive(arguments.store.as_deref()).await
}

/// Writes the built-in SQL files to a folder, or prints them. Files that differ are kept and named.
fn print_pipeline(folder: &Path) -> anyhow::Result<()> {
    if folder == Path::new("-") {
        for (name, text) in BUILT_IN {
            terminal::result(&format!("-- sql/{name}\n{text}"));
        }
        return Ok(());
    }
    let (mut written, mut kept) = (0, 0);
    for (name, text) in BUILT_IN {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) if bytes == text.as_bytes() => {}
            Ok(_) => {
                kept += 1;
                terminal::print_message(&format!(
                    "{}: kept, it differs from the built-in file; remove it to have that one",
                    path.display()
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                written += 1;
                write_atomic(&path, text.as_bytes())?;
            }
            Err(error) => return Err(Error::io("read", &path)(error).into()),
        }
    }
    let same = BUILT_IN.len() - written - kept;
    terminal::result(&format!(
        "{written} SQL files written to {}, {same} were there already, {kept} others were kept",
        folder.display()
    ));
    Ok(())
}
