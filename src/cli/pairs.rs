//! `polyphony pairs`: preference pairs of a store, weighted by deviation.

use std::ops::Bound;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use polyphony_engine::expression::Expression;
use polyphony_engine::pairs::{self, DivPoPool, Options, PairsOutput, Select, Strategy};

use super::number::number;
use super::terminal::{self, Bars};
use super::weigh::{ZERO_HINT, mean_line};
use super::weighting::WeightArguments;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// How pairs are found: gap (random pairs whose votes differ by a gap, each response once), ratio
    /// (a ratio of votes, the chosen posted later), all, divpo (the most deviant of the best over the
    /// least deviant of the worst), marginal (the more diverse of two with similar votes)
    #[arg(long, default_value = "gap")]
    strategy: String,
    /// Use only responses for which this SQL condition holds, over the columns of a response and its prompt:
    /// score, words, text, `created_at`, tag, prompt, `prompt_score`, ...; as "tag = 'WP' AND words >= 100"
    #[arg(long = "where", value_name = "SQL")]
    filter: Option<String>,
    /// gap: the minimum difference of votes
    #[arg(long, allow_negative_numbers = true, default_value_t = 5.0, value_parser = number::<f64>(0.0..))]
    gap: f64,
    /// ratio: the minimum ratio of votes
    #[arg(long, default_value_t = 1.25, value_parser = number::<f64>(1.0..))]
    ratio: f64,
    /// ratio: the chosen response may be older than the rejected one
    #[arg(long)]
    ignore_time_order: bool,
    /// ratio: as many chosen responses longer than the rejected ones as shorter
    #[arg(long)]
    balance_length: bool,
    /// divpo: the share of best and of worst responses; a pool has at least --max-pairs of them
    #[arg(long, default_value_t = 0.25, value_parser = number::<f64>((Bound::Excluded(0.0), Bound::Included(0.5))))]
    rho: f64,
    /// divpo: take both pools from the responses in gap pairs, as the paper does, or from all candidates
    #[arg(
        long,
        value_name = "pairs|all",
        default_value = "pairs",
        value_parser = PossibleValuesParser::new(["pairs", "all"]).map(|name| match name.as_str() {
            "all" => DivPoPool::All,
            _ => DivPoPool::Pairs,
        })
    )]
    pool: DivPoPool,
    /// marginal: the maximum difference of votes of a pair
    #[arg(
        long,
        value_name = "X",
        default_value_t = 5.0,
        allow_negative_numbers = true,
        value_parser = number::<f64>(0.0..)
    )]
    epsilon: f64,
    /// marginal: at most this many pairs of one response
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    n_cap: u32,
    /// marginal: the share of a prompt's pairs that remains, those with the largest difference of diversity
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.25,
        value_parser = number::<f64>((Bound::Excluded(0.0), Bound::Included(1.0)))
    )]
    top_quantile: f64,
    /// At most this many pairs of a prompt, N / 2 for the paper's ablation over N responses [default:
    /// gap, marginal: all, divpo: 2, else 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_pairs: Option<u32>,
    /// gap, all: with --max-pairs, the pairs whose chosen responses have the most votes, not random ones
    #[arg(long, requires = "max_pairs")]
    best_winners: bool,
    /// Exclude responses with fewer votes [default: 10 for ratio, else none]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    min_votes: Option<f64>,
    /// Exclude shorter responses [default: 50 for ratio, else 1]
    #[arg(long, value_name = "N")]
    min_words: Option<u32>,
    /// Exclude longer responses, where no tokenizer counts tokens
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
    /// With --tokenizer: exclude responses of more tokens, with their prompt [default: 2048]
    #[arg(long, value_name = "N", requires = "tokenizer")]
    max_tokens: Option<u32>,
    /// Exclude prompts with fewer candidates
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_responses: u32,
    /// Use at most this many responses of a prompt as candidates, before they are paired
    #[arg(long, value_name = "N")]
    max_responses: Option<u32>,
    /// With --max-responses: which ones: random, best (the most votes), dpp (the most diverse: a
    /// determinantal point process over the embeddings) [default: random]
    #[arg(
        long,
        value_name = "random|best|dpp",
        requires = "max_responses",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["random", "best", "dpp"]).map(|name| {
            match name.as_str() {
                "best" => Select::Best,
                "dpp" => Select::Dpp,
                _ => Select::Random,
            }
        })
    )]
    select: Option<Select>,
    #[command(flatten)]
    weighting: WeightArguments,
    /// The random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: i64,
    /// The output file; the card is written beside it [default: pairs.parquet in the store]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write the SFT examples here: every candidate as prompt and completion, for `train sft`
    #[arg(long, value_name = "FILE")]
    sft: Option<PathBuf>,
    /// Keep the prompts of this file (column `prompt`) and their near-duplicates out of pairs, as
    /// `eval_prompt` in `candidates`
    #[arg(long, value_name = "FILE")]
    eval_prompts: Option<PathBuf>,
    /// Also write a folder with one file a split (train, validation, test) and the card as README.md, as
    /// `load_dataset` and the Hugging Face Hub read it
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (folder, options) = options(arguments)?;
    let output = pairs::pairs(&folder, &options, &Bars::default()).await?;
    summarize(&output);
    Ok(())
}

/// The store and the validated options of the pipeline.
fn options(arguments: Arguments) -> anyhow::Result<(PathBuf, Options)> {
    let filter = arguments.filter.as_deref();
    let defaults = Options::default();
    let options = Options {
        strategy: Strategy::named(&arguments.strategy)?,
        gap: arguments.gap,
        ratio: arguments.ratio,
        ignore_time_order: arguments.ignore_time_order,
        balance_length: arguments.balance_length,
        rho: arguments.rho,
        pool: arguments.pool,
        epsilon: arguments.epsilon,
        n_cap: arguments.n_cap,
        top_quantile: arguments.top_quantile,
        max_pairs: arguments.max_pairs,
        best_winners: arguments.best_winners,
        min_votes: arguments.min_votes,
        min_words: arguments.min_words,
        max_words: arguments.max_words,
        tokenizer: arguments.tokenizer,
        max_tokens: arguments.max_tokens.unwrap_or(defaults.max_tokens),
        min_responses: arguments.min_responses,
        max_responses: arguments.max_responses,
        select: arguments.select.unwrap_or_default(),
        filter: filter
            .map(|sql| Expression::parse("--where", sql))
            .transpose()?,
        seed: arguments.seed,
        out: arguments.out,
        sft: arguments.sft,
        eval_prompts: arguments.eval_prompts,
        dataset: arguments.dataset,
        ..arguments.weighting.options()?
    };
    Ok((arguments.store, options))
}

/// Prints counts, and a histogram of the weights.
pub(crate) fn summarize(output: &PairsOutput) {
    let card = &output.card;
    terminal::result(&format!(
        "{} pairs of {} prompts in {}; the card is {}",
        card.pairs,
        card.prompts,
        output.file.display(),
        output.card_file.display()
    ));
    if let Some((file, rows)) = &output.sft {
        terminal::result(&format!(
            "{rows} SFT examples, one for each candidate, in {}",
            file.display()
        ));
    }
    let by_construction = if card.weights.two_weigh_one() {
        ", whose weight is 1 by construction"
    } else {
        ""
    };
    terminal::result(&format!(
        "{:.1} % of them belong to prompts with two responses{by_construction}",
        100.0 * card.share_of_two_responses()
    ));
    terminal::result(&format!(
        "{:.1} % of them have weight 0",
        100.0 * card.share_of_zero_weights
    ));
    if card.share_of_zero_weights > 0.0 {
        terminal::result(ZERO_HINT);
    }
    terminal::result(&mean_line(card.mean_weight, card.mean_weight_train));
    for embedder in &card.embedders {
        terminal::result(embedder);
    }
    for notice in card.tokens.iter().flat_map(|space| &space.notices) {
        terminal::result(notice);
    }
    let bins = &card.weight_histogram;
    let highest = bins.iter().map(|(_, count)| *count).max().unwrap_or(1);
    terminal::result("weights of the chosen, and their number of pairs:");
    for (from, count) in bins {
        let length = (*count as f64 / highest as f64 * 50.0).round() as usize;
        terminal::result(&format!("  {from:>5.2} {} {count}", "#".repeat(length)));
    }
}
