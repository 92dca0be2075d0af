//! Options of weights, which `pairs` and `weigh` share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use polyphony_engine::embed::{Embedder, style, words};
use polyphony_engine::expression::Expression;
use polyphony_engine::pairs::Options;
use polyphony_model::encoder::text_tokenizer::LongTexts;

use super::embed::{devices, long_texts};
use super::ingest::pipeline;
use super::number::number;

#[derive(Debug, Args)]
pub(crate) struct WeightArguments {
    /// The embedding spaces in which deviation is measured
    #[arg(long, value_enum, default_value_t = Deviation::Both)]
    deviation: Deviation,
    /// The embedder of the semantic space: a built-in one, a folder or a hub id
    #[arg(long, value_name = "MODEL", default_value = words::NAME)]
    semantic: String,
    /// The embedder of the style space, likewise
    #[arg(long, value_name = "MODEL", default_value = style::NAME)]
    style: String,
    /// Where trained embedders run: cpu, cuda:0, or several as cuda:0,cuda:1; cuda:0:f16 on GPUs
    /// without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Texts of more tokens than a trained embedder reads: truncate, as sentence-transformers does, or mean (the
    /// vectors of all windows of that length, averaged by their tokens)
    #[arg(long, value_name = "truncate|mean", default_value = "truncate", value_parser = long_texts(), hide_possible_values = true)]
    long_texts: LongTexts,
    /// The weight as a SQL expression instead of the paper's formula, over the columns of a response:
    /// `m_semantic` and `m_style` (deviations, min-max scaled in the prompt), `deviation_semantic`,
    /// `deviation_style`, score, words, text, prompt; divided by its mean over the prompt. The paper's is
    /// `sqrt(m_semantic * m_style)`
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    weight: Option<String>,
    /// With --weight: its values are the weights, not divided by their mean over the prompt
    #[arg(long, requires = "weight")]
    raw_weights: bool,
    /// The minimum weight of a chosen response (the paper's: 0.2)
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = number::<f64>(0.0..))]
    min_weight: f64,
    /// Divide all weights by the mean weight of the chosen responses of the training split (the rows with
    /// `split` train), so that weighted and plain training have the same mean step
    #[arg(long)]
    center_winners: bool,
    /// A folder of SQL files that replace the built-in ones (`polyphony sql --print-pipeline` writes
    /// those)
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

impl WeightArguments {
    /// Loads the embedders, and sets the options of deviation and weights; the others are the defaults.
    pub(crate) fn options(self) -> anyhow::Result<Options> {
        let devices = devices(&self.device)?;
        let load = |model: &str| Embedder::named(model, &devices, self.long_texts);
        let mut spaces = Vec::new();
        if matches!(self.deviation, Deviation::Both | Deviation::Semantic) {
            spaces.push(("semantic", load(&self.semantic)?));
        }
        if matches!(self.deviation, Deviation::Both | Deviation::Style) {
            spaces.push(("style", load(&self.style)?));
        }
        let weight = self.weight.as_deref();
        Ok(Options {
            spaces,
            weight: weight
                .map(|sql| Expression::parse("--weight", sql))
                .transpose()?,
            raw_weights: self.raw_weights,
            min_weight: self.min_weight,
            center_winners: self.center_winners,
            pipeline: pipeline(self.sql)?,
            ..Options::default()
        })
    }
}
