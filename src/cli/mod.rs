//! Which commands are there? One file each: arguments, then validated options, then one call.

mod demo;
mod embed;
mod eval;
mod generate;
mod ingest;
pub(crate) mod log;
mod pairs;
mod sql;
mod study;
pub(crate) mod terminal;
mod train;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing::{Instrument as _, Span, info_span};

/// Preference data for diverse creative writing: SQL over stories, weighted by deviation
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Log level on stderr: off, error, warn, info, debug, trace, or levels by module such as
    /// `datafusion=debug`; from info on, steps are printed with their durations
    #[arg(
        long,
        value_name = "LEVEL",
        global = true,
        default_value = "warn",
        env = "POLYPHONY_LOG",
        value_parser = log::parse_filter
    )]
    pub(crate) log: log::Filter,
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

impl Command {
    /// The span under which the command runs: closed, it prints the command's duration.
    fn span(&self) -> Span {
        match self {
            Self::Demo(_) => info_span!("demo"),
            Self::Embed(_) => info_span!("embed"),
            Self::Eval(_) => info_span!("eval"),
            Self::Generate(_) => info_span!("generate"),
            Self::Ingest(_) => info_span!("ingest"),
            Self::Pairs(_) => info_span!("pairs"),
            Self::Sql(_) => info_span!("sql"),
            Self::Study(_) => info_span!("study"),
            Self::Train(_) => info_span!("train"),
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(dispatch(arguments))
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<()> {
    let span = arguments.command.span();
    run_command(arguments.command).instrument(span).await
}

async fn run_command(command: Command) -> anyhow::Result<()> {
    match command {
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
