//! Which commands are there? One file each: arguments, then validated options, then one call.

mod demo;
mod embed;
mod eval;
mod generate;
mod ingest;
mod pairs;
mod sql;
mod study;
pub(crate) mod terminal;
mod train;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Preference data for diverse creative writing: SQL over stories, weighted by deviation
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to log on stderr: error, warn, info, debug, or filters as `datafusion=debug`
    #[arg(long, global = true, default_value = "error", env = "POLYPHONY_LOG")]
    pub(crate) log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the whole path on the sample that comes with the source, offline
    Demo(demo::Arguments),
    /// Give texts their vectors: all of a store's, or a column of a file
    Embed(embed::Arguments),
    /// Judge what models wrote: diversity and reward, and how sure that is
    Eval(eval::Arguments),
    /// Let a model write: samples to every prompt of a file
    Generate(generate::Arguments),
    /// Read dumps and data sets into a store
    Ingest(ingest::Arguments),
    /// Make weighted preference pairs out of a store
    Pairs(pairs::Arguments),
    /// Query a store; without a query, an interactive shell
    Sql(sql::Arguments),
    /// Ask people: a blinded sheet of two models' texts, and what the answers say
    Study(study::Arguments),
    /// Train an adapter on pairs
    Train(Box<train::Arguments>),
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(dispatch(arguments))
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Embed(arguments) => embed::run(arguments).await,
        Command::Eval(arguments) => eval::run(arguments).await,
        Command::Generate(arguments) => generate::run(arguments).await,
        Command::Ingest(arguments) => ingest::run(arguments).await,
        Command::Pairs(arguments) => pairs::run(arguments).await,
        Command::Sql(arguments) => sql::run(arguments).await,
        Command::Study(arguments) => study::run(arguments),
        Command::Train(arguments) => train::run(*arguments).await,
    }
}

/// The exit code of an error: its kind's, 1 for one of another library.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<polyphony_io::Error>()
        .map_or(1, |error| error.kind().exit_code())
}
