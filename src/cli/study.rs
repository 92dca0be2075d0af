//! `polyphony study`: blinded sheets for human studies, and the statistics of their answers.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use polyphony_engine::Error;
use polyphony_eval::outputs::{self, Columns, OutputPath};
use polyphony_eval::report::number::probability;
use polyphony_eval::study::Key;
use polyphony_eval::study::answers::{self, Dropped};
use polyphony_eval::study::sheet::{self, SheetConfig};
use polyphony_eval::study::statistics::{QuestionResult, WinRate};
use polyphony_io::atomic::write_json;
use polyphony_io::checksum::{Checked, parse_checked};

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
    /// Read answers: win rates with confidence intervals, sign test over items, agreement, the paper's tests
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
    /// Files of answers: CSV (any separator), JSON lines or Parquet with id, annotator, quality,
    /// diversity; or Potato's folder `answers`
    #[arg(required = true, value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// key.json, which was written with the sheet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File for the results as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Bootstrap resamples of items, for the confidence intervals of answers
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    bootstrap_samples: u32,
    /// Random seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
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
    let (key, checked): (Key, _) = parse_checked(&text).map_err(invalid)?;
    if checked == Checked::Absent {
        let path = path.display();
        terminal::print_message(&format!(
            "{path}: an earlier version wrote it without a checksum, so it was not verified"
        ));
    }
    if key.items.values().any(|item| item.a > 1) {
        return Err(invalid("a side is neither 0 nor 1".to_owned()).into());
    }
    Ok(key)
}

/// `study read`: prints win rates, p-values and agreement by question.
fn read_answers(arguments: &Read) -> anyhow::Result<()> {
    let key = key(&arguments.key)?;
    let bootstrap = (arguments.bootstrap_samples as usize, arguments.seed);
    let result = answers::read(&key, &arguments.answers, bootstrap, &Bars::default())?;
    for (reason, dropped) in &result.dropped {
        let Dropped { count, first } = dropped;
        let answers = if *count == 1 { "answer" } else { "answers" };
        terminal::print_message(&format!(
            "{count} {answers} dropped: {reason} (the first: {first})"
        ));
    }
    for question in &result.questions {
        terminal::result(&summary(question, &result.models));
    }
    terminal::result(ABOUT);
    if let Some(out) = &arguments.out {
        write_json(out, &result)?;
    }
    Ok(())
}

/// What the numbers mean, below the results.
const ABOUT: &str = "\
The sign test counts an item once, however many people answered it. Intervals are 95 %: Clopper-Pearson (decided \
items), Wilson (all items), bootstrap over items (answers).
The paper's tests assume that the answers for one model are independent of those for the other. They are the same \
answers, so equal models are told apart in far more than 5 % of studies: these are no valid p-values.";

/// The results of a question, the valid test first.
fn summary(question: &QuestionResult, models: &[String; 2]) -> String {
    let rates = |rates: &[WinRate; 2], won: [usize; 2], of: usize| {
        let models = models.iter().zip(rates).zip(won);
        let cells = models.map(|((model, rate), won)| format!("{model} {}", share(rate, won)));
        let undecided = of - won[0] - won[1];
        let percent = 100.0 * undecided as f64 / of.max(1) as f64;
        let cells = cells.chain([format!("undecided {undecided} = {percent:.0} %")]);
        cells.collect::<Vec<_>>().join("; ")
    };
    let decided = question.items_won[0] + question.items_won[1];
    let of_decided = question.decided_win_rates.as_ref().map_or_else(
        || "no item decided".to_owned(),
        |rates| format!("{} {}", models[0], share(&rates[0], question.items_won[0])),
    );
    let agreement = question
        .alpha
        .map_or_else(|| "n/a".to_owned(), |alpha| format!("{alpha:.3}"));
    let paper = question.assuming_independent_answers;
    format!(
        "{}: p {} (sign test over {decided} decided items)\n  \
         decided items  {of_decided}\n  \
         all {} items  {}\n  \
         all {} answers  {}\n  \
         agreement  {agreement} (Krippendorff's alpha)\n  \
         the paper's tests, not valid here  p {} (two proportions), {} (Fisher)",
        question.question,
        probability(question.p_sign),
        question.items,
        rates(&question.item_win_rates, question.items_won, question.items),
        question.answers,
        rates(&question.answer_win_rates, question.won, question.answers),
        probability(paper.p_two_proportions),
        probability(paper.p_fisher),
    )
}

/// A count with its share and interval: `34 = 68 % (54 % to 79 %)`.
fn share(rate: &WinRate, won: usize) -> String {
    let percent = 100.0 * rate.share;
    match rate.ci_low.zip(rate.ci_high) {
        Some((low, high)) => {
            let (low, high) = (100.0 * low, 100.0 * high);
            format!("{won} = {percent:.0} % ({low:.0} % to {high:.0} %)")
        }
        None => format!("{won} = {percent:.0} %"),
    }
}
