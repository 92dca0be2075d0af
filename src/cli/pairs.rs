//! `polyphony pairs`: which pairs, weighted by which deviation, go where?

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use polyphony_engine::datafusion::scalar::ScalarValue;
use polyphony_engine::embed::{Embedder, style, words};
use polyphony_engine::pairs::{self, Options, PairsOutput, Strategy};
use polyphony_engine::sql;

use super::embed::places;
use super::ingest::pipeline;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// How pairs are found: gap (random pairs with a vote gap, each response once), ratio (a ratio
    /// of votes, the winner posted later), all, divpo (best and most deviant over worst and least)
    #[arg(long, default_value = "gap")]
    strategy: String,
    /// gap: the least difference of votes
    #[arg(long, default_value_t = 5)]
    gap: i64,
    /// ratio: the least ratio of votes
    #[arg(long, default_value_t = 1.25, value_parser = at_least_one)]
    ratio: f64,
    /// ratio: winners may be older than their losers
    #[arg(long)]
    any_order: bool,
    /// ratio: as many winners longer than their losers as shorter
    #[arg(long)]
    balance_length: bool,
    /// divpo: the share of best and of worst responses
    #[arg(long, default_value_t = 0.25, value_parser = share)]
    rho: f64,
    /// all, ratio, divpo: at most this many pairs of a prompt [default: 100, divpo: 2]
    #[arg(long, value_name = "N")]
    max_pairs: Option<u32>,
    /// Leave responses with fewer votes out [default: 10 for ratio, else any]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    min_votes: Option<i64>,
    /// Leave shorter responses out [default: 50 for ratio, else 1]
    #[arg(long, value_name = "N")]
    min_words: Option<u32>,
    /// Leave longer responses out, where no tokenizer counts tokens
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "tokenizer",
        default_value_t = 1500
    )]
    max_words: u32,
    /// Count tokens of prompt and response with this tokenizer: a file, a folder or a hub id
    #[arg(long, value_name = "TOKENIZER")]
    tokenizer: Option<String>,
    /// With --tokenizer: leave longer responses out [default: 2048]
    #[arg(long, value_name = "N", requires = "tokenizer")]
    max_tokens: Option<u32>,
    /// Keep at most this many responses of a prompt
    #[arg(long, value_name = "N")]
    max_responses: Option<u32>,
    /// With --max-responses: keep the best by votes, not random ones
    #[arg(long, requires = "max_responses")]
    best_first: bool,
    /// In which spaces deviation is measured
    #[arg(long, value_enum, default_value_t = Deviation::Both)]
    deviation: Deviation,
    /// The embedder of the semantic space: a built-in one, a folder or a hub id
    #[arg(long, value_name = "MODEL", default_value = words::NAME)]
    semantic: String,
    /// The embedder of the style space: likewise
    #[arg(long, value_name = "MODEL", default_value = style::NAME)]
    style: String,
    /// Where trained embedders run: cpu, cuda:0, or several as cuda:0,cuda:1; cuda:0:f16 on GPUs
    /// without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Raise the weights of winners to at least this (the paper's minimum: 0.2)
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    min_weight: f64,
    /// The seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: i64,
    /// Where the pairs go [default: pairs.parquet in the store]; the card goes beside it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// SQL files that stand in for the built-in ones
    #[arg(long, value_name = "DIR")]
    sql: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deviation {
    Both,
    Semantic,
    Style,
    None,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (folder, options) = options(arguments)?;
    let made = pairs::pairs(&folder, &options, &Bars::default()).await?;
    summarise(&made);
    Ok(())
}

fn options(arguments: Arguments) -> anyhow::Result<(PathBuf, Options)> {
    let strategy = Strategy::named(&arguments.strategy)?;
    let is_ratio = strategy == Strategy::Ratio;
    let places = places(&arguments.device)?;
    let mut spaces = Vec::new();
    if matches!(arguments.deviation, Deviation::Both | Deviation::Semantic) {
        spaces.push(("semantic", Embedder::named(&arguments.semantic, &places)?));
    }
    if matches!(arguments.deviation, Deviation::Both | Deviation::Style) {
        spaces.push(("style", Embedder::named(&arguments.style, &places)?));
    }
    let max_length = match &arguments.tokenizer {
        Some(_) => arguments.max_tokens.unwrap_or(2048),
        None => arguments.max_words,
    };
    let max_pairs = arguments.max_pairs.unwrap_or(match strategy {
        Strategy::DivPo => 2,
        _ => 100,
    });
    let min_votes = arguments
        .min_votes
        .unwrap_or(if is_ratio { 10 } else { i64::MIN });
    let min_words = arguments.min_words.unwrap_or(if is_ratio { 50 } else { 1 });
    let whole = |number: u32| ScalarValue::from(i64::from(number));
    let values = [
        ("gap", ScalarValue::from(arguments.gap)),
        ("ratio", ScalarValue::from(arguments.ratio)),
        ("any_order", ScalarValue::from(arguments.any_order)),
        (
            "balance_length",
            ScalarValue::from(arguments.balance_length),
        ),
        ("rho", ScalarValue::from(arguments.rho)),
        ("max_pairs", whole(max_pairs)),
        ("min_votes", ScalarValue::from(min_votes)),
        ("min_words", whole(min_words)),
        ("max_length", whole(max_length)),
        ("max_responses", whole(arguments.max_responses.unwrap_or(0))),
        ("best_first", ScalarValue::from(arguments.best_first)),
        ("min_weight", ScalarValue::from(arguments.min_weight)),
        ("seed", ScalarValue::from(arguments.seed)),
    ];
    let options = Options {
        strategy,
        spaces,
        tokenizer: arguments.tokenizer.unwrap_or_default(),
        values: sql::Options::from(values.map(|(name, value)| (name.to_owned(), value))),
        pipeline: pipeline(arguments.sql)?,
        out: arguments.out,
    };
    Ok((arguments.store, options))
}

/// Says what was made, with a plot of the weights.
pub(crate) fn summarise(made: &PairsOutput) {
    let card = &made.card;
    let pairs = card.value("pairs", "all");
    let two = card.value(
        "pairs",
        "of prompts with two responses (weight 1 by construction)",
    );
    terminal::result(&format!(
        "{pairs} pairs of {} prompts in {}; the card is {}",
        card.value("pairs", "prompts"),
        made.file.display(),
        made.card_file.display()
    ));
    terminal::result(&format!(
        "{:.1} % of them belong to prompts with two responses, whose weight is 1 by construction",
        100.0 * two / pairs.max(1.0)
    ));
    for embedder in &card.embedders {
        terminal::result(embedder);
    }
    let Some(histogram) = card
        .sections
        .iter()
        .find(|s| s.title == "weights of the chosen")
    else {
        return;
    };
    let most = histogram
        .rows
        .iter()
        .map(|(_, count)| *count)
        .fold(1.0, f64::max);
    terminal::result("weights of the chosen, and how many pairs have them:");
    for (from, count) in &histogram.rows {
        let length = (count / most * 50.0).round() as usize;
        terminal::result(&format!("  {from:>5} {} {count}", "#".repeat(length)));
    }
}

fn share(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| {
        let fits = x > 0.0 && x <= 0.5;
        fits.then_some(x)
            .ok_or_else(|| "give a share above 0 and up to 0.5".to_owned())
    })
}

fn at_least_one(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| {
        (x >= 1.0)
            .then_some(x)
            .ok_or_else(|| "give 1 or more".to_owned())
    })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| {
        (x >= 0.0)
            .then_some(x)
            .ok_or_else(|| "give 0 or more".to_owned())
    })
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|x| x.is_finite())
        .ok_or_else(|| "is no number".to_owned())
}
