//! `polyphony generate`: samples a model's responses to a file of prompts, or writes requests for an API that does,
//! and reads its responses.

mod adapter_scale;
mod provenance;
mod request_field;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use polyphony_io::Error;
use polyphony_model::device::DeviceSpec;
use polyphony_model::generate::batch::{self, RequestOptions, ResponseCounts};
use polyphony_model::generate::config::{GenerationConfig, PromptFormat};
use polyphony_model::generate::job::{self, Summary};
use polyphony_model::generate::prompting::Prompting;
use polyphony_model::generate::prompts::{self, Prompt};
use polyphony_model::generate::row::{UNPARSED, with_ending};
use polyphony_model::generate::sampling::SamplingParams;
use polyphony_model::generate::verbalized::{AnswerCounts, VerbalizedOptions};
use polyphony_model::generate::{AdapterMode, AdapterOptions, Generator};
use serde_json::Value;

use super::number::{above, number};
use super::terminal::{self, Bars};

/// The defaults are those of the paper's evaluation.
const PAPER: SamplingParams = SamplingParams::PAPER;

/// The largest adapter scale: far beyond the extrapolations that are in use (1.5).
const MAX_ADAPTER_SCALE: f64 = 10.0;

/// The number of requests that a batch of the OpenAI API may have.
const MAX_BATCH: usize = 50_000;

/// How texts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PromptingArgument {
    /// One text in a completion
    Direct,
    /// Verbalized sampling: several answers with their probabilities in a completion
    Verbalized,
}

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Model: a folder or a hub id `OWNER/NAME[@REVISION]` (Llama, Mistral, Gemma-2); for requests the server's
    /// name of the model
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// LoRA adapter: a folder of `polyphony train` or PEFT
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Compute the adapter beside the weights instead of merging it (slower, more precise in bf16)
    #[arg(long, requires = "adapter")]
    no_merge: bool,
    /// Multiply the adapter's update of the weights by X: 0 is the model without the adapter, 1 the adapter as it
    /// was trained, more extrapolates. Several values write one file each: OUT with `-scale-X` before its extension
    #[arg(
        long,
        value_name = "X,..",
        requires = "adapter",
        value_delimiter = ',',
        value_parser = number::<f64>(0.0..=MAX_ADAPTER_SCALE)
    )]
    adapter_scale: Vec<f64>,
    /// Prompts: a JSON lines, CSV or Parquet file with a `prompt` (text or chat messages) and optionally
    /// a `prompt_id`, as pairs.parquet
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Use only rows of this `split`
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Number of prompts to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Maximum number of prompts
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Output: a JSON lines file; the same command resumes a killed run
    #[arg(long, value_name = "FILE", required_unless_present = "write_requests")]
    out: Option<PathBuf>,
    /// Name of the model in the output [default: the adapter's folder, or the model, with `-verbalized` for that
    /// prompting]; `@scale=X` is appended with --adapter-scale
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Number of samples per prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// How texts are asked for. verbalized needs no training: a completion has several answers with probabilities
    /// (arXiv 2510.01171), each of which becomes a row; what cannot be read goes to OUT.unparsed
    #[arg(long, value_enum, default_value_t = PromptingArgument::Direct, hide_possible_values = true, value_name = "direct|verbalized")]
    prompting: PromptingArgument,
    /// verbalized: number of answers in one completion; must divide --samples [default: --samples]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    answers: Option<u32>,
    /// verbalized: ask only for answers less probable than P
    #[arg(long, value_name = "P", value_parser = number::<f64>((Bound::Excluded(0.0), Bound::Included(1.0))))]
    max_probability: Option<f64>,
    /// Maximum number of new tokens per text; a completion of K answers has K times as many
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// System prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "no_chat_template")]
    system: Option<String>,
    /// Use the prompts as they are, without the model's chat template
    #[arg(long)]
    no_chat_template: bool,
    /// Sampling temperature (0 = greedy)
    #[arg(long, value_name = "T", default_value_t = PAPER.temperature, value_parser = number::<f32>(0.0..))]
    temperature: f32,
    /// Sample from the K most probable tokens (0 = off) [default: 50]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Nucleus sampling: sample from the most probable tokens whose probabilities add up to P (1 = off)
    #[arg(long, value_name = "P", default_value_t = PAPER.top_p, value_parser = number::<f32>(0.0..=1.0))]
    top_p: f32,
    /// Sample from tokens at least P times as probable as the most probable one (0 = off) [default: 0]
    #[arg(long, value_name = "P", value_parser = number::<f32>(0.0..=1.0))]
    min_p: Option<f32>,
    /// Repetition penalty of tokens of the prompt and the text so far (1 = off) [default: 1.1]
    #[arg(long, value_name = "X", value_parser = above::<f32>(0.0))]
    repetition_penalty: Option<f32>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Number of texts generated at a time; on the CPU the texts do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Device: cpu, cuda:0, or cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Load no model: write a batch file of the OpenAI API (also read by vLLM and other servers) with a request
    /// for each prompt
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Generation by an API",
        conflicts_with_all = ["out", "read_responses", "adapter", "batch_size", "device"]
    )]
    write_requests: Option<PathBuf>,
    /// Load no model: write the responses of the batch as rows of --out. Give the options of --write-requests again
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        help_heading = "Generation by an API",
        conflicts_with_all = ["adapter", "batch_size", "device"]
    )]
    read_responses: Vec<PathBuf>,
    /// One request a completion, for servers that refuse `n` > 1; `eval` does not read such responses itself
    #[arg(long, help_heading = "Generation by an API")]
    single_choice: bool,
    /// Set a field of the requests' body to a JSON value, or leave it out with `null`:
    /// `max_tokens=null`, `reasoning_effort="low"`; may be repeated
    #[arg(
        long,
        value_name = "NAME=VALUE",
        value_parser = request_field::parse,
        requires = "write_requests",
        help_heading = "Generation by an API"
    )]
    request_field: Vec<(String, Value)>,
}

impl Arguments {
    /// The options of generation, with a name of the model.
    fn config(&self, name: String) -> Result<GenerationConfig, Error> {
        let prompting = match self.prompting {
            PromptingArgument::Verbalized => Prompting::Verbalized(VerbalizedOptions {
                answers: self.answers.unwrap_or(self.samples) as usize,
                max_probability: self.max_probability,
            }),
            PromptingArgument::Direct => {
                let given = [
                    ("--answers", self.answers.is_some()),
                    ("--max-probability", self.max_probability.is_some()),
                ];
                if let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                    let hint = "add `--prompting verbalized`, or leave it out";
                    return Err(Error::config(
                        option,
                        "belongs to verbalized sampling",
                        hint,
                    ));
                }
                Prompting::Direct
            }
        };
        let config = GenerationConfig {
            name,
            prompt_format: if self.no_chat_template {
                PromptFormat::Plain
            } else {
                PromptFormat::Chat {
                    system: self.system.clone(),
                }
            },
            prompting,
            samples_per_prompt: self.samples as usize,
            max_new_tokens: self.max_tokens as usize,
            sampling: SamplingParams {
                temperature: self.temperature,
                top_k: self.top_k.unwrap_or(PAPER.top_k),
                top_p: self.top_p,
                min_p: self.min_p.unwrap_or(PAPER.min_p),
                repetition_penalty: self.repetition_penalty.unwrap_or(PAPER.repetition_penalty),
            },
            seed: self.seed,
            batch_size: self.batch_size as usize,
            adapter_scale: None,
            adapter_provenance: None,
        };
        config.completions_per_prompt()?;
        Ok(config)
    }

    /// The model's name in the output, without a scale; `model` is that of the loaded model.
    fn model_name(&self, model: &str) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let folder = self.adapter.as_deref().and_then(Path::file_name);
        let folder = folder.map(|name| name.to_string_lossy().into_owned());
        let name = folder.unwrap_or_else(|| model.to_owned());
        match self.prompting {
            PromptingArgument::Direct => name,
            PromptingArgument::Verbalized => format!("{name}-verbalized"),
        }
    }

    /// The options of requests. Sampling parameters that the OpenAI API does not have are sent if they are given,
    /// under vLLM's names.
    fn request_options(&self) -> RequestOptions {
        let own = [
            ("top_k", self.top_k.map(Value::from)),
            ("min_p", self.min_p.map(request_field::decimal)),
            (
                "repetition_penalty",
                self.repetition_penalty.map(request_field::decimal),
            ),
        ];
        let own = own.into_iter();
        let own = own.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        RequestOptions {
            single_choice: self.single_choice,
            fields: own.chain(self.request_field.iter().cloned()).collect(),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let device = DeviceSpec::parse(&arguments.device)?;
    adapter_scale::refuse_repeated(&arguments.adapter_scale)?;
    let is_local = arguments.write_requests.is_none() && arguments.read_responses.is_empty();
    if arguments.single_choice && is_local {
        let hint = "add --write-requests or --read-responses, or leave it out";
        let message = "belongs to the requests for an API";
        return Err(Error::config("--single-choice", message, hint).into());
    }
    arguments.config(String::new())?;
    let prompts = selected_prompts(&arguments)?;
    if let Some(file) = &arguments.write_requests {
        return write_requests(&arguments, &prompts, file);
    }
    let Some(out) = arguments.out.clone() else {
        anyhow::bail!("--out is missing: name the output file");
    };
    if !arguments.read_responses.is_empty() {
        return read_responses(&arguments, &prompts, &out);
    }
    let stop = terminal::stop_on_ctrl_c("stops after the current tokens");
    let run = move || generate(&arguments, &prompts, &out, device, &stop);
    tokio::task::spawn_blocking(run).await?
}

/// The prompts of the file after `--split`, `--skip` and `--limit`.
fn selected_prompts(arguments: &Arguments) -> anyhow::Result<Vec<Prompt>> {
    let split = arguments.split.as_deref();
    let prompts = prompts::read_prompts(&arguments.prompts, split, &Bars::default())?;
    let total = prompts.len();
    let selected = prompts.into_iter().skip(arguments.skip);
    let prompts: Vec<_> = selected
        .take(arguments.limit.unwrap_or(usize::MAX))
        .collect();
    anyhow::ensure!(
        !prompts.is_empty(),
        "{}: no prompt is left of {total} after --skip and --limit: lower --skip or raise --limit",
        arguments.prompts.display()
    );
    Ok(prompts)
}

/// Generates on this machine: one file, or one for each adapter scale.
fn generate(
    arguments: &Arguments,
    prompts: &[Prompt],
    out: &Path,
    device: DeviceSpec,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let adapter = arguments.adapter.as_deref();
    let mode = if arguments.no_merge {
        AdapterMode::Unmerged
    } else {
        AdapterMode::Merged
    };
    for (scale, out) in adapter_scale::files(&arguments.adapter_scale, out) {
        let options = AdapterOptions {
            mode,
            scale: scale.unwrap_or(1.0),
        };
        let generator = Generator::load(&arguments.model, adapter, options, device)?;
        let name = arguments.model_name(&generator.name);
        let config = GenerationConfig {
            adapter_scale: scale,
            adapter_provenance: adapter.and_then(provenance::of_adapter),
            ..arguments.config(adapter_scale::model_name(name, scale))?
        };
        let progress = Bars::default();
        let summary = job::run(&generator, prompts, &config, &out, stop, &progress)?;
        tell_summary(&summary, &out);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Prints the summary of one output file.
fn tell_summary(summary: &Summary, out: &Path) {
    let completions = summary.written + summary.resumed;
    let texts = match &summary.answers {
        None => format!("{completions} texts"),
        Some(answers) => format!("{} answers of {completions} completions", answers.answers),
    };
    terminal::result(&format!(
        "{texts} in {} ({} truncated at --max-tokens), {:.0} tokens/s",
        out.display(),
        summary.truncated,
        summary.tokens_per_second,
    ));
    if let Some(answers) = &summary.answers {
        tell_answers(answers, out);
    }
    if summary.remaining > 0 {
        let remaining = summary.remaining;
        terminal::talk(&format!(
            "{remaining} texts remain: run the same command again to resume"
        ));
    }
}

/// Tells which answers are missing or could not be read.
fn tell_answers(answers: &AnswerCounts, out: &Path) {
    if answers.missing > 0 || !answers.unparsed.is_empty() {
        let AnswerCounts { missing, .. } = answers;
        let wanted = missing + answers.answers;
        let reasons = reasons(&answers.unparsed, out);
        terminal::talk(&format!(
            "{missing} of {wanted} answers are missing{reasons}"
        ));
    }
    if answers.without_probability > 0 {
        terminal::talk(&format!(
            "{} answers have no probability from 0 to 1",
            answers.without_probability
        ));
    }
}

/// Counts by reason, and where the texts are: `; not read: 2 no_answer, see out.jsonl.unparsed`.
fn reasons<'a>(
    counts: impl IntoIterator<Item = (&'a &'static str, &'a usize)>,
    out: &Path,
) -> String {
    let counts = counts.into_iter();
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    let file = with_ending(out, UNPARSED);
    format!("; not read: {}, see {}", counts.join(", "), file.display())
}

/// Writes requests for an API.
fn write_requests(arguments: &Arguments, prompts: &[Prompt], file: &Path) -> anyhow::Result<()> {
    let config = arguments.config(arguments.model_name(&arguments.model))?;
    let options = arguments.request_options();
    let count = batch::write_requests(file, &arguments.model, prompts, &config, &options)?;
    terminal::result(&format!(
        "{count} requests to {} prompts in {}",
        prompts.len(),
        file.display()
    ));
    if count > MAX_BATCH {
        terminal::talk(&format!(
            "OpenAI takes up to {MAX_BATCH} requests in a file: use --skip and --limit to write several"
        ));
    }
    Ok(())
}

/// Writes the responses of an API as output rows.
fn read_responses(arguments: &Arguments, prompts: &[Prompt], out: &Path) -> anyhow::Result<()> {
    let config = arguments.config(arguments.model_name(&arguments.model))?;
    let counts = batch::read_responses(
        &arguments.read_responses,
        prompts,
        &config,
        arguments.single_choice,
        out,
        &Bars::default(),
    )?;
    let ResponseCounts {
        requested,
        completions,
        truncated,
        ..
    } = counts;
    let texts = match &counts.answers {
        None => format!("{completions} texts"),
        Some(answers) => format!("{} answers of {completions} completions", answers.answers),
    };
    terminal::result(&format!(
        "{texts} in {} ({truncated} truncated at the maximum number of tokens)",
        out.display()
    ));
    if completions < requested || !counts.unparsed.is_empty() {
        let missing = requested - completions;
        let reasons = reasons(&counts.unparsed, out);
        terminal::talk(&format!(
            "{missing} of {requested} completions have no response{reasons}"
        ));
    }
    if let Some(answers) = &counts.answers {
        tell_answers(answers, out);
    }
    Ok(())
}
