//! Watching in the training loop: every `--watch` steps texts are sampled, measured and logged; the best adapter is
//! kept, a collapse is named.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::mix64;
use polyphony_io::progress::Progress;
use polyphony_io::{Error, Result};
use polyphony_model::chat::Chat;
use polyphony_model::decoder::config::DecoderConfig as ModelConfig;
use polyphony_model::files::ModelFiles;
use polyphony_model::generate::sampling::SamplingParams;
use polyphony_model::generate::{GenerationRequest, TokenSource, eos_token_ids, generate};
use serde_json::{Map, Value, json};
use tracing::instrument;

use super::trainer::Trainer;
use crate::config::Config;
use crate::data::example::Examples;
use crate::method::Method;
use crate::watch::best::is_best;
use crate::watch::{MeasureSamples, SampledPrompt};

/// The field of the metrics log that names a collapse.
const COLLAPSE: &str = "watch_collapse";

/// What is sampled, and how it is measured.
pub(super) struct Watch<'a> {
    measure: &'a MeasureSamples<'a>,
    chat: Chat,
    eos_token_ids: Vec<u32>,
    /// The held-out prompts: their texts and their token ids.
    prompts: Vec<(String, Vec<u32>)>,
}

impl<'a> Watch<'a> {
    /// The first held-out prompts, each once; none where `--watch` is not set.
    ///
    /// # Errors
    /// For a reward model, without held-out rows, and without a function that measures.
    pub(super) fn new(
        config: &Config,
        files: &ModelFiles,
        chat: Chat,
        examples: &Examples,
        measure: Option<&'a MeasureSamples<'a>>,
    ) -> Result<Option<Self>> {
        let Some(steps) = config.watch else {
            return Ok(None);
        };
        let refuse =
            |message: &str, hint: &str| Error::config(format!("--watch {steps}"), message, hint);
        if config.method == Method::Reward {
            return Err(refuse("a reward model writes no texts", "leave it out"));
        }
        let Some(measure) = measure else {
            return Err(refuse("this program has no measures", "leave it out"));
        };
        let room = ModelConfig::read(files)?.max_position_embeddings;
        let mut seen = HashSet::new();
        let held_out = examples.eval.iter();
        let prompts: Vec<(String, Vec<u32>)> = held_out
            .filter(|example| example.chosen.prompt_len < room && seen.insert(example.prompt_hash))
            .take(config.watch_prompts)
            .map(|example| {
                let text = examples.held_out_prompts.get(&example.prompt_hash);
                let ids = example.chosen.ids[..example.chosen.prompt_len].to_vec();
                (text.cloned().unwrap_or_default(), ids)
            })
            .collect();
        if prompts.is_empty() {
            let hint = "add rows with `split` = `validation`, or leave it out";
            return Err(refuse("the data has no held-out prompts", hint));
        }
        Ok(Some(Self {
            measure,
            eos_token_ids: eos_token_ids(files, &chat)?,
            chat,
            prompts,
        }))
    }
}

impl Trainer<'_> {
    /// Whether texts are due at the current step: before the first step, every `watch` steps, after the last.
    pub(super) fn is_watch_due(&self, total_steps: usize) -> bool {
        let step = self.counters.step;
        let due = |every: usize| step == total_steps || step.is_multiple_of(every);
        self.watch.is_some() && self.config.watch.is_some_and(due) && !self.log.is_watched(step)
    }

    /// Samples and measures texts, unless `stop` is set meanwhile.
    ///
    /// # Errors
    /// When the device fails, a file cannot be written, or with `--stop-on-collapse` at a collapse.
    #[instrument(name = "watch", level = "debug", skip_all, fields(step = self.counters.step))]
    pub(super) fn watch(&mut self, stop: &AtomicBool, progress: &dyn Progress) -> Result<()> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let Some(texts) = self.sample(watch, stop)? else {
            return Ok(());
        };
        let now = (watch.measure)(&texts)?;
        self.write_texts(&texts)?;
        let earlier = self.log.watched();
        let start = earlier.first().copied().unwrap_or(now);
        if is_best(&start, &earlier, &now) {
            self.write_adapter(&self.config.out.join("best"))?;
        }
        let step = self.counters.step;
        let mut line = Map::new();
        line.insert("step".to_owned(), json!(step));
        line.insert("epoch".to_owned(), json!(self.epoch()));
        if let Value::Object(measures) = serde_json::to_value(now)? {
            line.extend(measures);
        }
        let collapse = self.config.collapse_thresholds().collapse(&start, &now);
        if let Some(collapse) = &collapse {
            line.insert(COLLAPSE.to_owned(), json!(collapse));
            progress.message(&format!("collapse at step {step}: {collapse}"));
        }
        self.log.append(&line)
    }

    /// Fails where `--stop-on-collapse` is set and the latest texts have collapsed.
    pub(super) fn check_collapse(&self) -> Result<()> {
        let Some((step, collapse)) = self.log.collapse().filter(|_| self.config.stop_on_collapse)
        else {
            return Ok(());
        };
        let best = self.config.out.join("best");
        let hint = if best.is_dir() {
            format!(
                "{} has the best adapter so far; lower the learning rate, or train without --stop-on-collapse",
                best.display()
            )
        } else {
            "lower the learning rate, or train without --stop-on-collapse".to_owned()
        };
        let message = format!("collapsed at step {step}: {collapse}");
        Err(Error::input(&self.config.out, message, hint))
    }

    /// The responses to all prompts; none where `stop` is set before all are there.
    fn sample(&self, watch: &Watch<'_>, stop: &AtomicBool) -> Result<Option<Vec<SampledPrompt>>> {
        let samples = self.config.watch_samples;
        let room = self.policy.decoder.config.max_position_embeddings;
        let requests: Vec<GenerationRequest> = (0..watch.prompts.len() * samples)
            .map(|number| {
                let prompt = watch.prompts[number / samples].1.clone();
                GenerationRequest {
                    max_new_tokens: self.config.watch_max_tokens.min(room - prompt.len()),
                    prompt,
                    // The same seeds at every step: differences come from the policy alone.
                    seed: mix64(self.config.seed.wrapping_add(number as u64)),
                }
            })
            .collect();
        let source = TokenSource {
            decoder: &self.policy.decoder,
            eos_token_ids: &watch.eos_token_ids,
            name: &self.config.model,
        };
        let mut responses: Vec<String> = Vec::new();
        generate(
            &source,
            &requests,
            &SamplingParams::PAPER,
            requests.len(),
            stop,
            &mut |_, completion| {
                responses.push(watch.chat.decode(&completion.tokens)?);
                Ok(())
            },
        )?;
        if stop.load(Ordering::Relaxed) && responses.len() < requests.len() {
            return Ok(None);
        }
        let texts = watch.prompts.iter().zip(responses.chunks(samples));
        let sampled = texts.map(|((prompt, _), responses)| SampledPrompt {
            prompt: prompt.clone(),
            responses: responses.to_vec(),
        });
        Ok(Some(sampled.collect()))
    }

    /// Writes the texts of this step for people to read.
    fn write_texts(&self, texts: &[SampledPrompt]) -> Result<()> {
        let mut lines = String::new();
        for SampledPrompt { prompt, responses } in texts {
            for (sample, response) in responses.iter().enumerate() {
                let row = json!({"prompt": prompt, "sample": sample, "response": response});
                lines.push_str(&row.to_string());
                lines.push('\n');
            }
        }
        let name = format!("step-{:08}.jsonl", self.counters.step);
        write_atomic(&self.config.out.join("watch").join(name), lines.as_bytes())
    }
}
