//! `polyphony generate`: which model writes how many texts to which prompts, and how is each drawn?

use std::path::PathBuf;

use clap::Args;
use polyphony_model::device::DeviceSpec;
use polyphony_model::generate::job::{self, GenerationConfig};
use polyphony_model::generate::sampling::SamplingParams;
use polyphony_model::generate::{Generator, prompts};

use super::terminal::{self, Bars};

/// Without more flags a model writes as in the paper's evaluation.
const PAPER: SamplingParams = SamplingParams::PAPER;

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// The model: a folder or a hub id `OWNER/NAME[@REVISION]` (Llama, Mistral, Gemma-2)
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// An adapter's folder, as `train` or PEFT writes it
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Keep the adapter beside the weights instead of adding it to them
    #[arg(long, requires = "adapter")]
    live: bool,
    /// The prompts: a JSON lines, CSV or Parquet file with `prompt` (a text or a chat) and perhaps
    /// `prompt_id`; pairs.parquet as it is
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Only rows of this `split`
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Leave out so many prompts at the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Take so many prompts at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where the texts go, a JSON line each; a killed run goes on there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the lines call the model [default: the adapter's folder, or the model]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many texts to a prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// How many tokens a text has at most
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// What is said before every prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "plain")]
    system: Option<String>,
    /// Give the model prompts as they are, without its chat template
    #[arg(long)]
    plain: bool,
    /// Logits are divided by it; 0 takes the likeliest token
    #[arg(long, value_name = "X", default_value_t = PAPER.temperature, value_parser = at_least_0)]
    temperature: f32,
    /// Draw from so many likeliest tokens; 0: from all
    #[arg(long, value_name = "N", default_value_t = PAPER.top_k)]
    top_k: usize,
    /// Draw from the likeliest tokens that reach this share together
    #[arg(long, value_name = "X", default_value_t = PAPER.top_p, value_parser = share)]
    top_p: f32,
    /// Draw from tokens at least so likely next to the likeliest
    #[arg(long, value_name = "X", default_value_t = PAPER.min_p, value_parser = share)]
    min_p: f32,
    /// Make tokens that stood there less likely; 1: do not
    #[arg(long, value_name = "X", default_value_t = PAPER.repetition_penalty, value_parser = above_0)]
    repetition_penalty: f32,
    /// Where random numbers begin
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// How many texts are written at a time; on the CPU the texts do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Where the model runs: cpu, cuda:0, or cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

fn number(text: &str, holds: impl Fn(f32) -> bool, what: &str) -> Result<f32, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f32| number.is_finite() && holds(*number));
    number.ok_or_else(|| format!("give a number {what}"))
}

fn at_least_0(text: &str) -> Result<f32, String> {
    number(text, |number| number >= 0.0, "from 0 on")
}

fn above_0(text: &str) -> Result<f32, String> {
    number(text, |number| number > 0.0, "above 0")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |number| (0.0..=1.0).contains(&number), "from 0 to 1")
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let place = DeviceSpec::named(&arguments.device)?;
    let progress = Bars::default();
    let prompts = prompts::read(&arguments.prompts, arguments.split.as_deref(), &progress)?;
    let taken = prompts.into_iter().skip(arguments.skip);
    let prompts: Vec<_> = taken.take(arguments.limit.unwrap_or(usize::MAX)).collect();
    anyhow::ensure!(
        !prompts.is_empty(),
        "{}: no prompt is left after --skip and --limit: change them",
        arguments.prompts.display()
    );
    let stop = terminal::stop_on_ctrl_c("stops after the tokens at hand");
    let out = arguments.out.clone();
    let summary = tokio::task::spawn_blocking(move || {
        let adapter = arguments.adapter.as_deref();
        let writer = Generator::load(&arguments.model, adapter, arguments.live, place)?;
        let folder = adapter.and_then(|adapter| adapter.file_name());
        let name = folder.map(|name| name.to_string_lossy().into_owned());
        let how = GenerationConfig {
            name: arguments
                .name
                .or(name)
                .unwrap_or_else(|| writer.name.clone()),
            system: arguments.system,
            plain: arguments.plain,
            samples: arguments.samples as usize,
            max_tokens: arguments.max_tokens as usize,
            sampling: SamplingParams {
                temperature: arguments.temperature,
                top_k: arguments.top_k,
                top_p: arguments.top_p,
                min_p: arguments.min_p,
                repetition_penalty: arguments.repetition_penalty,
            },
            seed: arguments.seed,
            batch_size: arguments.batch as usize,
        };
        job::run(&writer, &prompts, &how, &arguments.out, &stop, &progress)
    });
    let summary = summary.await??;
    let rate = summary.rate;
    terminal::result(&format!(
        "{} texts in {} ({} cut by the limit), {rate:.0} tokens/s",
        summary.texts + summary.before,
        out.display(),
        summary.cut,
    ));
    if summary.left > 0 {
        let left = summary.left;
        terminal::talk(&format!(
            "{left} texts are left; the same command goes on from there"
        ));
    }
    Ok(())
}
