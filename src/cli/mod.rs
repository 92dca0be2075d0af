//! Commands: each file has one command with its arguments, validates them, and calls a library crate.

mod demo;
mod embed;
mod eval;
mod experiment;
mod generate;
mod ingest;
pub(crate) mod log;
mod number;
mod pairs;
mod shell;
mod sql;
mod study;
pub(crate) mod terminal;
mod train;
mod weigh;
mod weighting;

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
    /// Run the whole pipeline on a built-in sample, offline
    Demo(demo::Arguments),
    /// Compute embeddings of the texts of a store, or of a column of a file
    Embed(embed::Arguments),
    /// Evaluate model outputs: diversity and reward with confidence intervals
    Eval(eval::Arguments),
    /// Train, sample and evaluate several conditions with several random seeds, from one file
    Experiment(experiment::Arguments),
    /// Sample responses from a model to every prompt of a file
    Generate(generate::Arguments),
    /// Read dumps and data sets into a store
    Ingest(ingest::Arguments),
    /// Build weighted preference pairs from a store
    Pairs(pairs::Arguments),
    /// Query tables with SQL; without a query an interactive shell
    Sql(sql::Arguments),
    /// Human evaluation: a blinded sheet of two models' texts, and statistics of the answers
    Study(study::Arguments),
    /// Fine-tune a model with LoRA on preference pairs, or train a reward model
    Train(Box<train::Arguments>),
    /// Add weights to preference data that is there already
    Weigh(weigh::Arguments),
}

impl Command {
    /// The tracing span of the command: when it closes, the log has the command's duration.
    fn span(&self) -> Span {
        match self {
            Self::Demo(_) => info_span!("demo"),
            Self::Embed(_) => info_span!("embed"),
            Self::Eval(_) => info_span!("eval"),
            Self::Experiment(_) => info_span!("experiment"),
            Self::Generate(_) => info_span!("generate"),
            Self::Ingest(_) => info_span!("ingest"),
            Self::Pairs(_) => info_span!("pairs"),
            Self::Sql(_) => info_span!("sql"),
            Self::Study(_) => info_span!("study"),
            Self::Train(_) => info_span!("train"),
            Self::Weigh(_) => info_span!("weigh"),
        }
    }
}

/// The size of a thread's stack, in bytes: SQL expressions of many thousand terms are trees as deep as that. Only
/// what is used takes memory.
const STACK: usize = 512 << 20;
const WORKER_STACK: usize = 64 << 20;

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(WORKER_STACK)
        .build()
        .context("cannot start the runtime")?;
    // A thread of its own: the size of the main thread's stack is the system's.
    let command = std::thread::Builder::new().stack_size(STACK);
    let command = command.spawn(move || runtime.block_on(dispatch(arguments)));
    let command = command.context("cannot start a thread")?;
    command
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
        Command::Experiment(arguments) => experiment::run(arguments).await,
        Command::Generate(arguments) => generate::run(arguments).await,
        Command::Ingest(arguments) => ingest::run(arguments).await,
        Command::Pairs(arguments) => pairs::run(arguments).await,
        Command::Sql(arguments) => sql::run(arguments).await,
        Command::Study(arguments) => study::run(arguments),
        Command::Train(arguments) => train::run(*arguments).await,
        Command::Weigh(arguments) => weigh::run(arguments).await,
    }
}

/// The exit code of an error, by its kind; 1 for an error of another library.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<polyphony_io::Error>())
        .map_or(1, |error| error.kind().exit_code())
}
