//! `polyphony weigh`: weights for the rows of a preference file that is there already.

use std::path::PathBuf;

use clap::Args;
use polyphony_engine::weigh::{self, Columns, Options, Summary};

use super::terminal::{self, Bars};
use super::weighting::WeightArguments;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Preference data as TRL reads it: prompt, chosen and rejected as texts or as lists of messages;
    /// Parquet, JSON, CSV or TSV, or hub:OWNER/NAME[@REVISION][#FILE]
    file: String,
    /// The output: the rows of FILE as they are, and the columns `weight`, `deviation_semantic` and
    /// `deviation_style` of the chosen response; .parquet or .jsonl
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// More responses to the prompts of FILE (prompt, response), with which the chosen ones are compared,
    /// too; may be given several times
    #[arg(long, value_name = "FILE")]
    also: Vec<String>,
    /// Names of the columns: prompt=...,chosen=...,rejected=...
    #[arg(long, value_name = "ROLE=COLUMN,...")]
    columns: Option<String>,
    #[command(flatten)]
    weighting: WeightArguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let columns = arguments.columns.as_deref();
    let options = Options {
        columns: columns.map(Columns::parse).transpose()?.unwrap_or_default(),
        also: arguments.also,
        weights: arguments.weighting.options()?,
        out: arguments.out,
    };
    let summary = weigh::weigh(&arguments.file, &options, &Bars::default()).await?;
    report(&summary, &options);
    Ok(())
}

/// Prints counts and shares.
fn report(summary: &Summary, options: &Options) {
    terminal::result(&format!(
        "{} rows of {} prompts in {}: {:.1} % have weight 0, {:.1} % are of prompts with two texts",
        summary.rows,
        summary.prompts,
        options.out.display(),
        100.0 * summary.share_of_zero_weights,
        100.0 * summary.share_of_two_responses
    ));
    if !options.also.is_empty() {
        let further = &summary.further;
        terminal::result(&format!(
            "--also: {} more texts; {} that a prompt has already, {} of other prompts",
            further.added, further.same_text, further.other_prompt
        ));
    }
    terminal::result(&mean_line(summary.mean_weight, None));
    if summary.share_of_zero_weights > 0.0 {
        terminal::result(ZERO_HINT);
    }
    for embedder in &summary.embedders {
        terminal::result(embedder);
    }
    for notice in summary.tokens.iter().flat_map(|space| &space.notices) {
        terminal::result(notice);
    }
}

/// What pairs of weight 0 mean.
pub(super) const ZERO_HINT: &str =
    "rows of weight 0 are ignored by weighted losses: --min-weight 0.2 (the paper's) keeps them";

/// The mean weight of the chosen, with what it means where it is not 1.
pub(super) fn mean_line(mean: f64, train: Option<f64>) -> String {
    let train = train.map_or_else(String::new, |train| {
        format!(" (training split: {train:.3})")
    });
    let hint = if (mean - 1.0).abs() < 0.0005 {
        ""
    } else {
        "; weighted training steps by as much more or less than plain training (see --center-winners)"
    };
    format!("mean weight of the chosen: {mean:.3}{train}{hint}")
}
