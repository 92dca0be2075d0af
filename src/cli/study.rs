//! `polyphony study`: blinded sheets for human studies, and the statistics of their answers.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use polyphony_engine::Error;
use polyphony_eval::outputs::{self, Columns, OutputPath};
use polyphony_eval::report::number::probability;
use polyphony_eval::study::sheet::{self, SheetConfig};
use polyphony_eval::study::{Key, answers};
use polyphony_io::atomic::write_json;

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
    /// Read answers: win rates, significance tests, agreement
    Read(Read),
}

#[derive(Debug, Args)]
struct Sheet {
    /// Files or folders of outputs, as `eval` reads them
    #[arg(required = true, value_name = "[NAME=]FILE")]
    outputs: Vec<String>,
    /// The two models
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        num_args = 1,
        required = true
    )]
    models: Vec<String>,
    /// Folder of sheet.jsonl (Potato), sheet.csv and key.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of prompts
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// Texts of each model per prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    texts: u32,
    /// Column names, as for `eval`
    #[arg(long, value_name = "ROLE=COLUMN,..", default_value = "")]
    columns: String,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Read {
    /// Files of answers: CSV, JSON lines or Parquet with id, annotator, quality, diversity; or
    /// Potato's folder `answers`
    #[arg(required = true, value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// key.json, which was written with the sheet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File for the results as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Sheet(arguments) => write_sheet(arguments),
        Command::Read(arguments) => read_answers(&arguments),
    }
}

/// `study sheet`: writes the blinded sheet and its key.
fn write_sheet(arguments: Sheet) -> anyhow::Result<()> {
    let Ok(models) = <[String; 2]>::try_from(arguments.models) else {
        anyhow::bail!("--models: name two models, as --models dpo,ddpo");
    };
    let columns = Columns::parse(&arguments.columns)?;
    let paths = arguments.outputs.iter();
    let paths: Vec<OutputPath> = paths.map(|text| OutputPath::parse(text)).collect();
    let outputs = outputs::read(&paths, &columns, &Bars::default())?;
    let config = SheetConfig {
        models,
        items: arguments.items as usize,
        texts: arguments.texts as usize,
        seed: arguments.seed,
    };
    let items = sheet::write(&outputs.rows, &outputs.inputs, &config, &arguments.out)?;
    terminal::result(&format!(
        "{items} items in {}; keep key.json from those who answer",
        arguments.out.display()
    ));
    Ok(())
}

/// Reads the key of a sheet and validates it.
fn key(path: &Path) -> anyhow::Result<Key> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let invalid = |why: String| {
        let message = format!("is not the key of a sheet ({why})");
        Error::input(
            path,
            message,
            "name the key.json that was written with the sheet",
        )
    };
    let key: Key = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    if key.items.values().any(|item| item.a > 1) {
        return Err(invalid("a side is neither 0 nor 1".to_owned()).into());
    }
    Ok(key)
}

/// `study read`: prints win rates, p-values and agreement by question.
fn read_answers(arguments: &Read) -> anyhow::Result<()> {
    let key = key(&arguments.key)?;
    let result = answers::read(&key, &arguments.answers, &Bars::default())?;
    for (reason, count) in &result.dropped {
        terminal::talk(&format!("{count} answers dropped: {reason}"));
    }
    let [one, other] = &result.models;
    for question in &result.questions {
        let percent = |count: usize, total: usize| 100.0 * count as f64 / total.max(1) as f64;
        let [a, b] = question.won.map(|won| percent(won, question.answers));
        let agreement = question
            .alpha
            .map_or_else(|| "n/a".to_owned(), |alpha| format!("{alpha:.3}"));
        terminal::result(&format!(
            "{}: {one} {a:.0} %, {other} {b:.0} %, undecided {:.0} % of {} answers; p {} (two \
             proportions), {} (Fisher); of {} items {one} has {}, {other} {}: p {} (sign test); \
             agreement (alpha) {agreement}",
            question.question,
            100.0 - a - b,
            question.answers,
            probability(question.p_two_proportions),
            probability(question.p_fisher),
            question.items,
            question.items_won[0],
            question.items_won[1],
            probability(question.p_sign),
        ));
    }
    if let Some(out) = &arguments.out {
        write_json(out, &result)?;
    }
    Ok(())
}
