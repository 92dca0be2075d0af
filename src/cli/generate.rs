//! `polyphony generate`: samples a model's responses to a file of prompts.

use std::path::PathBuf;

use clap::Args;
use polyphony_model::device::DeviceSpec;
use polyphony_model::generate::job::{self, GenerationConfig, PromptFormat};
use polyphony_model::generate::sampling::SamplingParams;
use polyphony_model::generate::{AdapterMode, Generator, prompts};

use super::number::{above, number};
use super::terminal::{self, Bars};

/// The defaults are those of the paper's evaluation.
const PAPER: SamplingParams = SamplingParams::PAPER;

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Model: a folder or a hub id `OWNER/NAME[@REVISION]` (Llama, Mistral, Gemma-2)
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// LoRA adapter: a folder of `polyphony train` or PEFT
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Compute the adapter beside the weights instead of merging it (slower, more precise in bf16)
    #[arg(long, requires = "adapter")]
    no_merge: bool,
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
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Name of the model in the output [default: the adapter's folder, or the model]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Number of samples per prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Maximum number of new tokens per text
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
    /// Sample from the K most probable tokens (0 = off)
    #[arg(long, value_name = "K", default_value_t = PAPER.top_k)]
    top_k: usize,
    /// Nucleus sampling: sample from the most probable tokens whose probabilities add up to P (1 = off)
    #[arg(long, value_name = "P", default_value_t = PAPER.top_p, value_parser = number::<f32>(0.0..=1.0))]
    top_p: f32,
    /// Sample from tokens at least P times as probable as the most probable one (0 = off)
    #[arg(long, value_name = "P", default_value_t = PAPER.min_p, value_parser = number::<f32>(0.0..=1.0))]
    min_p: f32,
    /// Repetition penalty of tokens of the prompt and the text so far (1 = off)
    #[arg(long, value_name = "X", default_value_t = PAPER.repetition_penalty, value_parser = above::<f32>(0.0))]
    repetition_penalty: f32,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Number of texts generated at a time; on the CPU the texts do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Device: cpu, cuda:0, or cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let device = DeviceSpec::parse(&arguments.device)?;
    let progress = Bars::default();
    let split = arguments.split.as_deref();
    let prompts = prompts::read_prompts(&arguments.prompts, split, &progress)?;
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
    let stop = terminal::stop_on_ctrl_c("stops after the current tokens");
    let out = arguments.out.clone();
    let summary = tokio::task::spawn_blocking(move || {
        let adapter = arguments.adapter.as_deref();
        let adapter_mode = if arguments.no_merge {
            AdapterMode::Unmerged
        } else {
            AdapterMode::Merged
        };
        let generator = Generator::load(&arguments.model, adapter, adapter_mode, device)?;
        let folder = adapter.and_then(|adapter| adapter.file_name());
        let name = folder.map(|name| name.to_string_lossy().into_owned());
        let config = GenerationConfig {
            name: arguments
                .name
                .or(name)
                .unwrap_or_else(|| generator.name.clone()),
            prompt_format: if arguments.no_chat_template {
                PromptFormat::Plain
            } else {
                PromptFormat::Chat {
                    system: arguments.system,
                }
            },
            samples_per_prompt: arguments.samples as usize,
            max_new_tokens: arguments.max_tokens as usize,
            sampling: SamplingParams {
                temperature: arguments.temperature,
                top_k: arguments.top_k,
                top_p: arguments.top_p,
                min_p: arguments.min_p,
                repetition_penalty: arguments.repetition_penalty,
            },
            seed: arguments.seed,
            batch_size: arguments.batch_size as usize,
        };
        job::run(
            &generator,
            &prompts,
            &config,
            &arguments.out,
            &stop,
            &progress,
        )
    });
    let summary = summary.await??;
    terminal::result(&format!(
        "{} texts in {} ({} truncated at --max-tokens), {:.0} tokens/s",
        summary.written + summary.resumed,
        out.display(),
        summary.truncated,
        summary.tokens_per_second,
    ));
    if summary.remaining > 0 {
        let remaining = summary.remaining;
        terminal::talk(&format!(
            "{remaining} texts remain: run the same command again to resume"
        ));
    }
    Ok(())
}
