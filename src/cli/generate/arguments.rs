//! Arguments of `polyphony generate`, and the options of generation that they give.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use polyphony_io::Error;
use polyphony_model::generate::batch::RequestOptions;
use polyphony_model::generate::config::{GenerationConfig, PromptFormat};
use polyphony_model::generate::prompting::Prompting;
use polyphony_model::generate::sampling::SamplingParams;
use polyphony_model::generate::verbalized::VerbalizedOptions;
use serde_json::Value;

use super::request_field;
use crate::cli::number::{above, number};

/// The defaults are those of the paper's evaluation.
const PAPER: SamplingParams = SamplingParams::PAPER;

/// The largest adapter scale: far beyond the extrapolations that are in use (1.5).
const MAX_ADAPTER_SCALE: f64 = 10.0;

/// How texts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PromptingArgument {
    /// One text in a completion
    Direct,
    /// Verbalized sampling: several answers with their probabilities in a completion
    Verbalized,
}

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Model: a folder, a GGUF file or a hub id `OWNER/NAME[@REVISION]` (Llama, Mistral, Qwen, Gemma); for requests
    /// the server's name of the model
    #[arg(long, value_name = "MODEL")]
    pub(super) model: String,
    /// LoRA adapter: a folder of `polyphony train` or PEFT
    #[arg(long, value_name = "DIR")]
    pub(super) adapter: Option<PathBuf>,
    /// Compute the adapter beside the weights instead of merging it (slower, more precise in bf16)
    #[arg(long, requires = "adapter")]
    pub(super) no_merge: bool,
    /// Multiply the adapter's update of the weights by X: 0 is the model without the adapter, 1 the adapter as it
    /// was trained, more extrapolates. Several values write one file each: OUT with `-scale-X` before its extension
    #[arg(
        long,
        value_name = "X,..",
        requires = "adapter",
        value_delimiter = ',',
        value_parser = number::<f64>(0.0..=MAX_ADAPTER_SCALE)
    )]
    pub(super) adapter_scale: Vec<f64>,
    /// Prompts: a JSON lines, CSV or Parquet file with a `prompt` (text or chat messages) and optionally
    /// a `prompt_id`, as pairs.parquet
    #[arg(long, value_name = "FILE")]
    pub(super) prompts: PathBuf,
    /// Use only rows of this `split`
    #[arg(long, value_name = "NAME")]
    pub(super) split: Option<String>,
    /// Number of prompts to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) skip: usize,
    /// Maximum number of prompts
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Output: a JSON lines file; the same command resumes a killed run
    #[arg(long, value_name = "FILE", required_unless_present = "write_requests")]
    pub(super) out: Option<PathBuf>,
    /// Name of the model in the output [default: the adapter's folder, or the model, with `-verbalized` for that
    /// prompting]; `@scale=X` is appended with --adapter-scale
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Number of samples per prompt
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) samples: u32,
    /// How texts are asked for. verbalized needs no training: a completion has several answers with probabilities
    /// (arXiv 2510.01171), each of which becomes a row; what cannot be read goes to OUT.unparsed
    #[arg(long, value_enum, default_value_t = PromptingArgument::Direct, hide_possible_values = true, value_name = "direct|verbalized")]
    pub(super) prompting: PromptingArgument,
    /// verbalized: number of answers in one completion; must divide --samples [default: --samples]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) answers: Option<u32>,
    /// verbalized: ask only for answers less probable than P
    #[arg(long, value_name = "P", value_parser = number::<f64>((Bound::Excluded(0.0), Bound::Included(1.0))))]
    pub(super) max_probability: Option<f64>,
    /// Maximum number of new tokens per text; a completion of K answers has K times as many
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tokens: u32,
    /// System prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "no_chat_template")]
    pub(super) system: Option<String>,
    /// Use the prompts as they are, without the model's chat template
    #[arg(long)]
    pub(super) no_chat_template: bool,
    /// Sampling temperature (0 = greedy)
    #[arg(long, value_name = "T", default_value_t = PAPER.temperature, value_parser = number::<f32>(0.0..))]
    pub(super) temperature: f32,
    /// Sample from the K most probable tokens (0 = off) [default: 50]
    #[arg(long, value_name = "K")]
    pub(super) top_k: Option<usize>,
    /// Nucleus sampling: sample from the most probable tokens whose probabilities add up to P (1 = off)
    #[arg(long, value_name = "P", default_value_t = PAPER.top_p, value_parser = number::<f32>(0.0..=1.0))]
    pub(super) top_p: f32,
    /// Sample from tokens at least P times as probable as the most probable one (0 = off) [default: 0]
    #[arg(long, value_name = "P", value_parser = number::<f32>(0.0..=1.0))]
    pub(super) min_p: Option<f32>,
    /// Repetition penalty of tokens of the prompt and the text so far (1 = off) [default: 1.1, verbalized: 1]
    #[arg(long, value_name = "X", value_parser = above::<f32>(0.0))]
    pub(super) repetition_penalty: Option<f32>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(super) seed: u64,
    /// Number of texts generated at a time; on the CPU the texts do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,
    /// Device: cpu, cuda:0, or cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(super) device: String,
    /// Load no model: write a batch file of the OpenAI API (also read by vLLM and other servers) with a request
    /// for each prompt
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Generation by an API",
        conflicts_with_all = ["out", "read_responses", "adapter", "batch_size", "device"]
    )]
    pub(super) write_requests: Option<PathBuf>,
    /// Load no model: write the responses of the batch as rows of --out. Give the options of --write-requests again
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        help_heading = "Generation by an API",
        conflicts_with_all = ["adapter", "batch_size", "device"]
    )]
    pub(super) read_responses: Vec<PathBuf>,
    /// One request a completion, for servers that refuse `n` > 1; `eval` does not read such responses itself
    #[arg(long, help_heading = "Generation by an API")]
    pub(super) single_choice: bool,
    /// Set a field of the requests' body to a JSON value, or leave it out with `null`:
    /// `max_tokens=null`, `reasoning_effort="low"`; may be repeated
    #[arg(
        long,
        value_name = "NAME=VALUE",
        value_parser = request_field::parse,
        help_heading = "Generation by an API"
    )]
    pub(super) request_field: Vec<(String, Value)>,
}

impl Arguments {
    /// Refuses options of requests where no API generates.
    pub(super) fn refuse_request_options(&self) -> Result<(), Error> {
        let is_local = self.write_requests.is_none() && self.read_responses.is_empty();
        let given = [
            ("--single-choice", self.single_choice),
            ("--request-field", !self.request_field.is_empty()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if is_local => {
                let hint = "add --write-requests or --read-responses, or leave it out";
                let message = "belongs to the requests for an API";
                Err(Error::config(option, message, hint))
            }
            _ => Ok(()),
        }
    }

    /// The options of generation, with a name of the model.
    pub(super) fn config(&self, name: String) -> Result<GenerationConfig, Error> {
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
                repetition_penalty: self.repetition_penalty.unwrap_or(match prompting {
                    Prompting::Direct => PAPER.repetition_penalty,
                    // A penalty would count the tags, which each answer repeats.
                    Prompting::Verbalized(_) => SamplingParams::GREEDY.repetition_penalty,
                }),
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
    pub(super) fn model_name(&self, model: &str) -> String {
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
    pub(super) fn request_options(&self) -> RequestOptions {
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
