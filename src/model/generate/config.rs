//! Generation configuration: what the texts of a run depend on besides prompts and weights.

use serde_json::{Value, json};

use super::prompting::Prompting;
use super::sampling::SamplingParams;
use crate::{Error, Result};

/// The options of a generation run.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    /// Model name in the output rows.
    pub name: String,
    /// Prompt format: how a prompt becomes the model's input.
    pub prompt_format: PromptFormat,
    /// How texts are asked for.
    pub prompting: Prompting,
    /// Number of samples per prompt, a multiple of the answers per completion.
    pub samples_per_prompt: usize,
    /// Maximum number of new tokens per text; a completion of several texts has as many times more.
    pub max_new_tokens: usize,
    /// The sampling parameters.
    pub sampling: SamplingParams,
    /// Random seed of all sampling.
    pub seed: u64,
    /// Batch size: the number of texts generated at a time.
    pub batch_size: usize,
    /// The factor of the adapter's update for the field `adapter_scale`; `None` leaves the field out.
    pub adapter_scale: Option<f64>,
    /// What is known about the adapter's training; it goes into the manifest.
    pub adapter_provenance: Option<Value>,
}

/// Prompt format: how a prompt becomes the model's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptFormat {
    /// Rendered with the model's chat template, after an optional system prompt.
    Chat {
        /// The system prompt.
        system: Option<String>,
    },
    /// The prompt's text, without a chat template.
    Plain,
}

impl GenerationConfig {
    /// Number of completions per prompt.
    ///
    /// # Errors
    /// When the number of samples is no multiple of the number of answers in a completion.
    pub fn completions_per_prompt(&self) -> Result<usize> {
        let (samples, answers) = (
            self.samples_per_prompt,
            self.prompting.answers_per_completion(),
        );
        if answers == 0 || !samples.is_multiple_of(answers) {
            return Err(Error::config(
                "--answers",
                format!("must divide --samples {samples} (got {answers})"),
                "choose other numbers; without --answers one completion has all samples",
            ));
        }
        Ok(samples / answers)
    }

    /// Maximum number of new tokens per completion.
    pub fn max_completion_tokens(&self) -> usize {
        self.max_new_tokens
            .saturating_mul(self.prompting.answers_per_completion())
    }

    /// The fields of a manifest that describe these options. Prompting and adapter scale are named if they are
    /// not the default.
    pub(super) fn describe(&self) -> Value {
        let (chat_template, system_prompt) = match &self.prompt_format {
            PromptFormat::Chat { system } => (true, system.as_deref()),
            PromptFormat::Plain => (false, None),
        };
        let sampling = &self.sampling;
        let mut fields = json!({
            "made_with": { "polyphony": env!("CARGO_PKG_VERSION") },
            "model": self.name,
            "system_prompt": system_prompt,
            "chat_template": chat_template,
            "samples": self.samples_per_prompt,
            "max_tokens": self.max_new_tokens,
            "temperature": decimal(sampling.temperature),
            "top_k": sampling.top_k,
            "top_p": decimal(sampling.top_p),
            "min_p": decimal(sampling.min_p),
            "repetition_penalty": decimal(sampling.repetition_penalty),
            "seed": self.seed,
        });
        if let Prompting::Verbalized(options) = self.prompting {
            fields["prompting"] = json!({
                "method": self.prompting.name(),
                "answers": options.answers,
                "max_probability": options.max_probability,
                "instruction": options.prompt(""),
            });
        }
        if let Some(scale) = self.adapter_scale {
            fields["adapter_scale"] = json!(scale);
        }
        if let Some(provenance) = &self.adapter_provenance {
            fields[ADAPTER] = provenance.clone();
        }
        fields
    }
}

/// The manifest's field with what is known about the adapter's training.
pub(super) const ADAPTER: &str = "adapter";

/// An f32 as the f64 with the same shortest decimal: 0.95, not 0.949999988079071.
pub(super) fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
