//! `polyphony eval`: diversity and reward of model outputs, with confidence intervals and tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser};
use polyphony_engine::embed::Embedder;
use polyphony_eval::config::{
    Equivalence, EvalConfig, ResamplingConfig, RewardSource, SpaceSource,
};
use polyphony_eval::measures::registry;
use polyphony_eval::outputs::{Columns, OutputPath};
use polyphony_eval::report::terminal_summary;
use polyphony_eval::space::PerSpace;
use polyphony_eval::verify::{Difference, InputChange, RecordedReport};
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::text_tokenizer::LongTexts;
use serde::Serialize;
use serde_json::Value;

use super::embed::{devices, long_texts};
use super::number::number;
use super::terminal::{self, Bars};

/// The options that a report records, which therefore cannot be given with `--verify`.
const RECORDED: [&str; 13] = [
    "primary",
    "out",
    "columns",
    "k",
    "semantic",
    "style",
    "long_texts",
    "reward",
    "equivalence",
    "reference_compat",
    "bootstrap_samples",
    "permutations",
    "seed",
];

// The fields that are serialized are recorded in the report.
#[derive(Debug, Args, Serialize)]
#[command(after_help = registry::help())]
pub(crate) struct Arguments {
    /// Files or folders of outputs: CSV, JSON lines or Parquet; NAME=FILE names the model, NAME@SEED=FILE a training
    /// run of it
    #[arg(required_unless_present = "verify", value_name = "[NAME=]FILE")]
    #[serde(skip)]
    outputs: Vec<String>,
    /// Folder of the report: report.html, report.md, report.json, values.parquet, plots, embeddings
    #[arg(long, required_unless_present = "verify", value_name = "DIR")]
    #[serde(skip)]
    out: Option<PathBuf>,
    /// Instead of a new report, make this one again from its inputs, by the options that it records, and
    /// list every value that differs and every input that changed (exit code 1); outputs and --gold, if
    /// given, take the place of the recorded paths
    #[arg(long, value_name = "report.json", conflicts_with_all = RECORDED)]
    #[serde(skip)]
    verify: Option<PathBuf>,
    /// With --verify: relative difference up to which two numbers count as equal, for reports of another
    /// device or machine [default: 0]
    #[arg(long, value_name = "X", value_parser = number::<f64>(0.0..))]
    #[serde(skip)]
    tolerance: Option<f64>,
    /// Texts by people to the same prompts: a store, or a file of outputs; the report then says how often
    /// stories are closer than people's, and which words and phrases each model overuses
    #[arg(long, value_name = "STORE|FILE")]
    #[serde(skip)]
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
    /// Texts of more tokens than a trained embedder reads: truncate, as sentence-transformers does, or mean (the
    /// vectors of all windows of that length, averaged by their tokens)
    #[arg(long, value_name = "truncate|mean", default_value = "truncate", value_parser = long_texts(), hide_possible_values = true)]
    long_texts: LongTexts,
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
    #[arg(long, value_name = "DEVICE", default_value = Arguments::DEFAULT_DEVICE)]
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
    const DEFAULT_DEVICE: &str = "cpu";

    /// The validated options.
    fn config(self) -> anyhow::Result<EvalConfig> {
        anyhow::ensure!(
            self.tolerance.is_none(),
            "--tolerance: is for --verify: name a report, or leave it out"
        );
        let arguments = match serde_json::to_value(&self)? {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        let devices = devices(&self.device)?;
        let columns = Columns::parse(&self.columns)?;
        let space = |name: &str| -> anyhow::Result<SpaceSource> {
            Ok(match name.strip_prefix("column:") {
                Some(column) => SpaceSource::Column(column.to_owned()),
                None => SpaceSource::Embedder(Embedder::named(name, &devices, self.long_texts)?),
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
            out: self.out.unwrap_or_default(),
            arguments,
        })
    }
}

/// The recorded options of a report, parsed as on the command line.
#[derive(Debug, Parser)]
struct RecordedArguments {
    #[command(flatten)]
    arguments: Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(report) = arguments.verify.clone() {
        return verify(&report, arguments).await;
    }
    let config = arguments.config()?;
    let report = polyphony_eval::run::run(&config, &Bars::default()).await?;
    for warning in &report.warnings {
        terminal::print_message(warning);
    }
    terminal::result(&terminal_summary(&report));
    let page = config.out.join("report.html");
    terminal::print_message(&format!("the report is {}", page.display()));
    Ok(())
}

/// `eval --verify`: makes a report again and lists what differs.
async fn verify(path: &Path, given: Arguments) -> anyhow::Result<()> {
    let recorded = RecordedReport::read(path)?;
    let is_moved = !given.outputs.is_empty() || given.gold.is_some();
    let mut config = recorded_config(&recorded, &given)?;
    if !given.outputs.is_empty() {
        let outputs = given.outputs.iter();
        config.outputs = outputs.map(|text| OutputPath::parse(text)).collect();
    }
    config.gold = given.gold.or(config.gold);
    for change in recorded.version_changes() {
        terminal::print_message(&format!("the report was made by {change}"));
    }
    let changes = if is_moved {
        Vec::new()
    } else {
        recorded.input_changes()?
    };
    for change in &changes {
        terminal::result(&describe_change(change));
    }
    let failed = |what: String| anyhow::anyhow!("{}: {what}", path.display());
    let inputs = match changes.len() {
        0 => String::new(),
        1 => "1 input changed or is missing".to_owned(),
        n => format!("{n} inputs changed or are missing"),
    };
    let is_missing = |change: &InputChange| matches!(change, InputChange::Missing { .. });
    if changes.iter().any(is_missing) {
        return Err(failed(format!("{inputs}, so it cannot be made again")));
    }
    let result = recorded
        .recompute(config, given.tolerance.unwrap_or(0.0), &Bars::default())
        .await;
    let result = match result {
        Err(error) if !changes.is_empty() => {
            return Err(failed(format!(
                "{inputs}, and the evaluation fails: {error}"
            )));
        }
        result => result?,
    };
    for difference in &result.differences {
        terminal::result(&describe_difference(difference));
    }
    if result.new_values > 0 {
        let count = result.new_values;
        let are = if count == 1 { "value is" } else { "values are" };
        terminal::print_message(&format!(
            "{count} {are} new in this version, and not compared"
        ));
    }
    let values = match result.differences.len() {
        0 => String::new(),
        1 => format!("1 of {} values differs", result.compared),
        n => format!("{n} of {} values differ", result.compared),
    };
    let parts: Vec<String> = [values, inputs]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    if !parts.is_empty() {
        return Err(failed(parts.join("; ")));
    }
    let count = result.compared;
    terminal::result(&format!("{}: all {count} values are equal", path.display()));
    Ok(())
}

/// The options that a report was made with, on the device that was given now, if any.
fn recorded_config(recorded: &RecordedReport, given: &Arguments) -> anyhow::Result<EvalConfig> {
    let mut words = vec![
        "eval".to_owned(),
        "--out=.".to_owned(),
        "outputs".to_owned(),
    ];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    for (name, value) in recorded.options() {
        let flag = format!("--{}", name.replace('_', "-"));
        match &value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => words.push(flag),
            Value::Array(items) => {
                words.extend(items.iter().map(|item| format!("{flag}={}", text(item))));
            }
            value => words.push(format!("{flag}={}", text(value))),
        }
    }
    let parsed = RecordedArguments::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let reason = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        anyhow::anyhow!("the report has options that this version does not take: {reason}")
    })?;
    let mut arguments = parsed.arguments;
    if given.device != Arguments::DEFAULT_DEVICE {
        arguments.device.clone_from(&given.device);
    }
    let mut config = arguments.config()?;
    config.outputs = recorded.outputs();
    config.gold = recorded.gold();
    Ok(config)
}

/// A line about an input.
fn describe_change(change: &InputChange) -> String {
    match change {
        InputChange::Missing { path } => format!("missing  {}", path.display()),
        InputChange::Changed {
            path,
            recorded,
            found,
        } => {
            format!(
                "changed  {}: SHA-256 recorded {recorded}, now {found}",
                path.display()
            )
        }
    }
}

/// A line about a value.
fn describe_difference(difference: &Difference) -> String {
    let text = |value: &Option<Value>| {
        value
            .as_ref()
            .map_or_else(|| "absent".to_owned(), Value::to_string)
    };
    format!(
        "differs  {}: recorded {}, recomputed {}",
        difference.path,
        text(&difference.recorded),
        text(&difference.recomputed)
    )
}
