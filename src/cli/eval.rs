//! `polyphony eval`: diversity and reward of model outputs, with confidence intervals and tests.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use polyphony_engine::embed::Embedder;
use polyphony_eval::config::{
    Equivalence, EvalConfig, ResamplingConfig, RewardSource, SpaceSource,
};
use polyphony_eval::measures::registry;
use polyphony_eval::outputs::{Columns, OutputPath};
use polyphony_eval::report::terminal_summary;
use polyphony_eval::space::PerSpace;
use polyphony_model::device::DeviceSpec;

use super::embed::devices;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
#[command(after_help = registry::help())]
pub(crate) struct Arguments {
    /// Files or folders of outputs: CSV, JSON lines or Parquet; NAME=FILE names the model, NAME@SEED=FILE a training
    /// run of it
    #[arg(required = true, value_name = "[NAME=]FILE")]
    outputs: Vec<String>,
    /// Folder of the report: report.html, report.md, report.json, values.parquet, plots, embeddings
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Texts by people to the same prompts: a store, or a file of outputs
    #[arg(long, value_name = "STORE|FILE")]
    gold: Option<PathBuf>,
    /// Column names, as response=story,model=who; roles: model, `prompt_id`, prompt, response,
    /// sample, score, class, seed (of training runs)
    #[arg(long, value_name = "ROLE=COLUMN,..", default_value = "")]
    columns: String,
    /// Texts of each model per prompt; where there are more, k are sampled at random [default: the
    /// smallest number that a model usually has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    k: Option<u32>,
    /// Semantic embedder, as `embed --model`; or column:NAME, a column with the deviation of each text
    #[arg(
        long,
        value_name = "MODEL|column:NAME",
        default_value = "builtin:words"
    )]
    semantic: String,
    /// Style embedder, likewise
    #[arg(
        long,
        value_name = "MODEL|column:NAME",
        default_value = "builtin:style"
    )]
    style: String,
    /// Rewards: a reward model by folder or hub id, column:NAME, or none [default: the column score,
    /// reward, `reddit_reward` or rating]
    #[arg(long, value_name = "MODEL|column:NAME|none")]
    reward: Option<String>,
    /// Equivalence classes of texts: the column partition or class, or ROUGE-1 above 0.458 (the unigram
    /// rule of NoveltyBench)
    #[arg(
        long,
        value_name = "column|rouge1",
        default_value = "column",
        value_parser = PossibleValuesParser::new(["column", "rouge1"]).map(|name| match name.as_str() {
            "rouge1" => Equivalence::Rouge1,
            _ => Equivalence::Column,
        })
    )]
    equivalence: Equivalence,
    /// Device of the models: cpu, cuda:0, or several as cuda:0,cuda:1; cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Add the values that the paper's published code gives where it differs
    #[arg(long)]
    reference_compat: bool,
    /// Primary measures: Holm's and Benjamini-Hochberg corrections cover these alone, all others are exploratory
    /// and have no corrected p-value [default: all measures]
    #[arg(
        long,
        value_name = "MEASURE,..",
        default_value = "",
        hide_default_value = true
    )]
    primary: String,
    /// Bootstrap resamples for confidence intervals
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    bootstrap_samples: u32,
    /// Permutation test: number of sign flips
    #[arg(long, value_name = "N", default_value_t = 9999, value_parser = clap::value_parser!(u32).range(99..))]
    permutations: u32,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

impl Arguments {
    /// The validated options.
    fn config(self) -> anyhow::Result<EvalConfig> {
        let devices = devices(&self.device)?;
        let columns = Columns::parse(&self.columns)?;
        let space = |name: &str| -> anyhow::Result<SpaceSource> {
            Ok(match name.strip_prefix("column:") {
                Some(column) => SpaceSource::Column(column.to_owned()),
                None => SpaceSource::Embedder(Embedder::named(name, &devices)?),
            })
        };
        let device = devices.first().copied().unwrap_or(DeviceSpec::Cpu);
        let reward = match self.reward.as_deref() {
            None => RewardSource::Column(None),
            Some("none") => RewardSource::None,
            Some(name) => match name.strip_prefix("column:") {
                Some(column) => RewardSource::Column(Some(column.to_owned())),
                None => RewardSource::Model(name.to_owned(), device),
            },
        };
        let outputs = self.outputs.iter();
        Ok(EvalConfig {
            outputs: outputs.map(|text| OutputPath::parse(text)).collect(),
            gold: self.gold,
            columns,
            k: self.k.map(|k| k as usize),
            spaces: PerSpace {
                semantic: space(&self.semantic)?,
                style: space(&self.style)?,
            },
            reward,
            equivalence: self.equivalence,
            reference_compat: self.reference_compat,
            primary: registry::parse_columns(&self.primary)?,
            resampling: ResamplingConfig {
                bootstrap_samples: self.bootstrap_samples as usize,
                permutations: self.permutations as usize,
                seed: self.seed,
            },
            out: self.out,
        })
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.config()?;
    let report = polyphony_eval::run::run(&config, &Bars::default()).await?;
    for warning in &report.warnings {
        terminal::talk(warning);
    }
    terminal::result(&terminal_summary(&report));
    let page = config.out.join("report.html");
    terminal::talk(&format!("the report is {}", page.display()));
    Ok(())
}
