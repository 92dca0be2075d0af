//! `polyphony study`: what do people see of two models, and what do their answers say?

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use polyphony_engine::Error;
use polyphony_eval::outputs::{self, Columns, Named};
use polyphony_eval::study::{Key, answers, sheet};
use polyphony_io::atomic::write_atomic;

use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a blinded, shuffled sheet of two models' texts, and the key to it
    Sheet(Sheet),
    /// Read answers back: win rates, tests, agreement
    Read(Read),
}

#[derive(Debug, Args)]
struct Sheet {
    /// Files or folders of outputs, as `eval` reads them
    #[arg(required = true, value_name = "[NAME=]FILE")]
    outputs: Vec<String>,
    /// Both models
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        num_args = 1,
        required = true
    )]
    models: Vec<String>,
    /// Where sheet.jsonl (Potato), sheet.csv and key.json go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many prompts
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// How many texts of each model to a prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    texts: u32,
    /// Which column is what, as for `eval`
    #[arg(long, value_name = "ROLE=COLUMN,..", default_value = "")]
    columns: String,
    /// Where the drawing begins
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Read {
    /// Files of answers: CSV, JSON lines or Parquet with id, annotator, quality, diversity; or
    /// Potato's folder `answers`
    #[arg(required = true, value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// The key that was written with the sheet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the numbers go as JSON, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Sheet(arguments) => write_sheet(arguments),
        Command::Read(arguments) => read_answers(&arguments),
    }
}

fn write_sheet(arguments: Sheet) -> anyhow::Result<()> {
    let Ok(models) = <[String; 2]>::try_from(arguments.models) else {
        anyhow::bail!("--models: name two models, as --models dpo,ddpo");
    };
    let columns = Columns::parse(&arguments.columns)?;
    let named: Vec<Named> = arguments
        .outputs
        .iter()
        .map(|text| Named::parse(text))
        .collect();
    let read = outputs::read(&named, &columns, &Bars::default())?;
    let how = sheet::How {
        models,
        items: arguments.items as usize,
        texts: arguments.texts as usize,
        seed: arguments.seed,
    };
    let items = sheet::write(&read.rows, &read.inputs, &how, &arguments.out)?;
    terminal::result(&format!(
        "{items} items in {}; keep key.json from those who answer",
        arguments.out.display()
    ));
    Ok(())
}

fn key(path: &Path) -> anyhow::Result<Key> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let refused = |why: String| {
        let message = format!("is no key of a sheet ({why})");
        Error::input(path, message, "name the key.json that was written with it")
    };
    let key: Key = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    if key.items.values().any(|item| item.a > 1) {
        return Err(refused("a side is neither 0 nor 1".to_owned()).into());
    }
    Ok(key)
}

fn read_answers(arguments: &Read) -> anyhow::Result<()> {
    let key = key(&arguments.key)?;
    let verdicts = answers::read(&key, &arguments.answers, &Bars::default())?;
    for (reason, count) in &verdicts.left_out {
        terminal::talk(&format!("{count} rows have {reason}"));
    }
    let [one, other] = &verdicts.models;
    for verdict in &verdicts.verdicts {
        let share = |count: usize, of: usize| 100.0 * count as f64 / of.max(1) as f64;
        let [a, b] = verdict.won.map(|won| share(won, verdict.answers));
        let agree = verdict
            .alpha
            .map_or_else(|| "n/a".to_owned(), |alpha| format!("{alpha:.3}"));
        terminal::result(&format!(
            "{}: {one} {a:.0} %, {other} {b:.0} %, undecided {:.0} % of {} answers; p {} (two \
             proportions), {} (Fisher); of {} items {one} has {}, {other} {}: p {} (sign test); \
             agreement (alpha) {agree}",
            verdict.question,
            100.0 - a - b,
            verdict.answers,
            probability(verdict.p_two_proportions),
            probability(verdict.p_fisher),
            verdict.items,
            verdict.items_won[0],
            verdict.items_won[1],
            probability(verdict.p_sign),
        ));
    }
    if let Some(out) = &arguments.out {
        let mut text = serde_json::to_string_pretty(&verdicts)?;
        text.push('\n');
        write_atomic(out, text.as_bytes())?;
    }
    Ok(())
}

/// A p-value in three digits that count.
fn probability(p: f64) -> String {
    if p < 0.001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.3}")
    }
}
