//! `polyphony eval`: which outputs are judged, by what, and how surely?

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use polyphony_engine::embed::Embedder;
use polyphony_eval::choose::choose;
use polyphony_eval::compare::ResamplingConfig;
use polyphony_eval::evaluate::{Classes, EvalConfig, Reward, Space, evaluate};
use polyphony_eval::outputs::{self, Columns, Named, gold};
use polyphony_eval::report::{self, Provenance};
use polyphony_eval::rewards::{shared_score, unlike_rewards};
use polyphony_model::device::DeviceSpec;
use polyphony_model::reward::RewardModel;

use super::embed::devices;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Files or folders of outputs: CSV, JSON lines or Parquet; NAME=FILE says whose they are
    #[arg(required = true, value_name = "[NAME=]FILE")]
    outputs: Vec<String>,
    /// Where the report goes: report.html, report.md, report.json, plots, vectors
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What people wrote to the same prompts: a store, or a file of outputs
    #[arg(long, value_name = "STORE|FILE")]
    gold: Option<PathBuf>,
    /// Which column is what, as response=story,model=who; roles: model, `prompt_id`, prompt,
    /// response, sample, score, class
    #[arg(long, value_name = "ROLE=COLUMN,..", default_value = "")]
    columns: String,
    /// How many texts of each model to a prompt count; more are drawn from by seed [default: what the
    /// models usually have, the smallest of it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    k: Option<u32>,
    /// The semantic embedder: as `embed --model`, or column:NAME where the files say the diversity of
    /// each text
    #[arg(
        long,
        value_name = "MODEL|column:NAME",
        default_value = "builtin:words"
    )]
    semantic: String,
    /// The style embedder, likewise
    #[arg(
        long,
        value_name = "MODEL|column:NAME",
        default_value = "builtin:style"
    )]
    style: String,
    /// Where rewards come from: a reward model by folder or hub id, column:NAME, or none [default:
    /// the files' column score, reward, `reddit_reward` or rating]
    #[arg(long, value_name = "MODEL|column:NAME|none")]
    reward: Option<String>,
    /// Where classes of equivalent texts come from: the files' column partition or class, or the words that
    /// texts share (the unigram rule of NoveltyBench: ROUGE-1 above 0.458)
    #[arg(
        long,
        value_name = "file|words",
        default_value = "file",
        value_parser = PossibleValuesParser::new(["file", "words"]).map(|name| match name.as_str() {
            "words" => Classes::Words,
            _ => Classes::File,
        })
    )]
    classes: Classes,
    /// Where models run: cpu, cuda:0, or several as cuda:0,cuda:1; cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Show what the published code gives, too, where it is wrong
    #[arg(long)]
    reference_compat: bool,
    /// How often prompts are drawn again for intervals
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    replicates: u32,
    /// How often signs are drawn for tests
    #[arg(long, value_name = "N", default_value_t = 9999, value_parser = clap::value_parser!(u32).range(99..))]
    draws: u32,
    /// Where random draws begin
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let places = devices(&arguments.device)?;
    let mut columns = Columns::parse(&arguments.columns)?;
    let space = |name: &str| -> anyhow::Result<Space> {
        Ok(match name.strip_prefix("column:") {
            Some(column) => Space::Column(column.to_owned()),
            None => Space::Embedder(Embedder::named(name, &places)?),
        })
    };
    let spaces = [space(&arguments.semantic)?, space(&arguments.style)?];
    columns.spaces = spaces.each_ref().map(|space| match space {
        Space::Column(name) => Some(name.clone()),
        Space::Embedder(_) => None,
    });
    let reward = match arguments.reward.as_deref() {
        None => Reward::Column,
        Some("none") => Reward::None,
        Some(name) => match name.strip_prefix("column:") {
            Some(column) => {
                columns.score = Some(column.to_owned());
                Reward::Column
            }
            None => Reward::Model(
                name.to_owned(),
                places.first().copied().unwrap_or(DeviceSpec::Cpu),
            ),
        },
    };
    let progress = Bars::default();
    let named: Vec<Named> = arguments
        .outputs
        .iter()
        .map(|text| Named::parse(text))
        .collect();
    let mut read = outputs::read(&named, &columns, &progress)?;
    let score = match reward {
        Reward::Column => shared_score(&read.inputs)?,
        _ => None,
    };
    if let Some(gold) = &arguments.gold {
        gold::add(&mut read, gold, &columns, &progress).await?;
    }
    if arguments.classes == Classes::Words {
        outputs::classify(&mut read.rows);
    }
    let chosen = choose(&read.rows, arguments.k.map(|k| k as usize), arguments.seed);
    let how = EvalConfig {
        spaces,
        reward,
        classes: arguments.classes,
        reference_compat: arguments.reference_compat,
        out: arguments.out.clone(),
    };
    let evaluation = evaluate(&chosen, &how, &progress).await?;
    let rigour = ResamplingConfig {
        replicates: arguments.replicates as usize,
        draws: arguments.draws as usize,
        seed: arguments.seed,
    };
    let mut notices = read.notices.clone();
    notices.extend(chosen.notices.iter().cloned());
    let reward_revision = match &how.reward {
        Reward::Model(name, place) => {
            Some(RewardModel::load_cached(name, *place)?.revision.clone())
        }
        _ => None,
    };
    let unasked = chosen
        .rows
        .iter()
        .filter(|row| row.prompt.is_empty())
        .count();
    if reward_revision.is_some() && unasked > 0 {
        notices.push(format!(
            "{unasked} texts have no reward: the files do not say their prompts."
        ));
    }
    notices.extend(unlike_rewards(&evaluation));
    let facts = Provenance {
        inputs: read.inputs.clone(),
        notices,
        score,
        reward_revision,
        columns: arguments.columns.clone(),
    };
    let report = report::report(&evaluation, &how, facts, rigour);
    report::write(&report, &evaluation, &arguments.out)?;
    for license_notice in &report.notices {
        terminal::talk(license_notice);
    }
    terminal::result(&report::terminal_summary(&report));
    terminal::talk(&format!(
        "the report is {}",
        arguments.out.join("report.html").display()
    ));
    Ok(())
}
