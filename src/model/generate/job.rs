//! Generation job: writes the samples of many prompts to a JSON Lines file; the same command resumes a killed
//! run.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::config::{GenerationConfig, PromptFormat};
use super::output::{self, Output};
use super::prompting::Prompting;
use super::prompts::{self, Prompt};
use super::row::{COMPLETIONS, OutputRow, UNPARSED, with_ending, write_rows, write_unparsed};
use super::verbalized::{self, AnswerCounts};
use super::{AdapterMode, FinishReason, GenerationRequest, Generator};
use crate::tokenizer::SpecialTokens;
use crate::{Error, Result};
use polyphony_io::hash::{fnv1a, mix64};
use polyphony_io::progress::{Progress, Unit};

/// The result of a generation job.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Completions written by this run.
    pub written: usize,
    /// Completions that the file had before this run.
    pub resumed: usize,
    /// Completions still to be written, when Ctrl-C stopped the run.
    pub remaining: usize,
    /// Completions written by this run that reached the maximum number of tokens.
    pub truncated: usize,
    /// Generated tokens per second.
    pub tokens_per_second: f64,
    /// Verbalized sampling: the answers in all completions, once these are complete.
    pub answers: Option<AnswerCounts>,
}

/// Writes the samples of all prompts to `out`, one JSON line each, ordered by prompt and sample. The manifest
/// `out.json` next to it records the options. The same command resumes a killed run.
///
/// With verbalized sampling the completions go to `out.completions`; once all are there, their answers go to
/// `out`, and what is no answer to `out.unparsed`.
///
/// # Errors
/// When `out` was written with other options, a prompt leaves no room in the context, the device fails, or no
/// completion has an answer.
#[tracing::instrument(name = "generation_job", skip_all, fields(prompts = prompts.len()))]
pub fn run(
    generator: &Generator,
    prompts: &[Prompt],
    config: &GenerationConfig,
    out: &Path,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Summary> {
    let encoded: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| encode_prompt(generator, prompt, config))
        .collect::<Result<_>>()?;
    let samples = config.completions_per_prompt()?;
    let completions = completions_path(out, config.prompting);
    let manifest = manifest(generator, prompts, config);
    let mut output = Output::open(&manifest, out, &completions)?;
    let resumed = output.resume(progress)?;
    let total = prompts.len() * samples;
    if resumed > total {
        let message = format!("has {resumed} lines, more than the {total} texts to generate");
        return Err(Error::input(&completions, message, "choose another --out"));
    }
    if resumed > 0 {
        progress.message(&format!(
            "resuming: {} has {resumed} of {total} texts",
            completions.display()
        ));
    }
    let requests: Vec<GenerationRequest> = (resumed..total)
        .map(|number| {
            let (prompt, sample) = (number / samples, number % samples);
            let ids = encoded[prompt].clone();
            let room = generator.decoder.config.max_position_embeddings - ids.len();
            // A text's random seed depends only on the run's seed, the prompt id and the sample number, so
            // that a resumed run generates the same texts.
            let seed = mix64(config.seed) ^ fnv1a(prompts[prompt].id.as_bytes());
            GenerationRequest {
                prompt: ids,
                seed: mix64(seed.wrapping_add(sample as u64)),
                max_new_tokens: config.max_completion_tokens().min(room),
            }
        })
        .collect();
    progress.start("generating", Some(requests.len() as u64), Unit::Rows);
    let (start, mut tokens, mut truncated, mut written) = (Instant::now(), 0, 0, 0);
    let rate = |tokens: usize| tokens as f64 / start.elapsed().as_secs_f64().max(1e-9);
    generator.generate(
        &requests,
        &config.sampling,
        config.batch_size,
        stop,
        &mut |number, completion| {
            let prompt = &prompts[(resumed + number) / samples];
            let response = generator.chat.decode(&completion.tokens)?;
            let mut line = serde_json::to_vec(&OutputRow {
                model: config.name.clone(),
                prompt_id: prompt.id.clone(),
                sample: (resumed + number) % samples,
                prompt: prompt.text.clone(),
                response,
                tokens: Some(completion.tokens.len()),
                finish_reason: completion.finish_reason.name().to_owned(),
                probability: None,
                completion_index: None,
                adapter_scale: config.adapter_scale,
            })?;
            line.push(b'\n');
            output.append(&line)?;
            tokens += completion.tokens.len();
            truncated += usize::from(completion.finish_reason == FinishReason::Length);
            written += 1;
            progress.set_position(written as u64);
            progress.set_rate(&format!("{:.0} tokens/s", rate(tokens)));
            Ok(())
        },
    )?;
    progress.finish();
    output.sync()?;
    let mut summary = Summary {
        written,
        resumed,
        remaining: total - resumed - written,
        truncated,
        tokens_per_second: rate(tokens),
        answers: None,
    };
    if let (Prompting::Verbalized(options), 0) = (config.prompting, summary.remaining) {
        summary.answers = Some(write_answers(&completions, options.answers, out)?);
    }
    if summary.remaining == 0 {
        output::record(out, &manifest)?;
    }
    Ok(summary)
}

/// The file of completions: the output itself, or `out.completions` if completions hold several answers.
fn completions_path(out: &Path, prompting: Prompting) -> PathBuf {
    match prompting {
        Prompting::Direct => out.to_path_buf(),
        Prompting::Verbalized(_) => with_ending(out, COMPLETIONS),
    }
}

/// Writes the answers of all completions to `out`.
fn write_answers(completions: &Path, answers: usize, out: &Path) -> Result<AnswerCounts> {
    let text = std::fs::read_to_string(completions).map_err(Error::io("read", completions))?;
    let rows: std::result::Result<Vec<OutputRow>, _> =
        text.lines().map(serde_json::from_str).collect();
    let rows = rows.map_err(|error| {
        let message = format!("has a row that no run wrote ({error})");
        Error::input(completions, message, "remove it, and generate it again")
    })?;
    write_split(&verbalized::split(&rows, answers), out)
}

/// Writes the rows and the unparsed parts of completions.
///
/// # Errors
/// When a file cannot be written, or there is no answer.
pub(super) fn write_split(split: &verbalized::Split, out: &Path) -> Result<AnswerCounts> {
    write_unparsed(out, &split.unparsed)?;
    if split.rows.is_empty() {
        let completions = split.counts.completions;
        let message =
            format!("none of the {completions} completions has an answer that can be read");
        let hint = format!(
            "see {}: the model does not write the format that the prompt asks for, so use a larger \
             instruction-tuned model or `--prompting direct`",
            with_ending(out, UNPARSED).display()
        );
        return Err(Error::input(out, message, hint));
    }
    write_rows(out, &split.rows)?;
    Ok(split.counts.clone())
}

/// The model's input of a prompt.
fn encode_prompt(
    generator: &Generator,
    prompt: &Prompt,
    config: &GenerationConfig,
) -> Result<Vec<u32>> {
    let chat = &generator.chat;
    let ids = match &config.prompt_format {
        PromptFormat::Plain => {
            chat.encode(&config.prompting.text(&prompt.text), SpecialTokens::Add)?
        }
        PromptFormat::Chat { system } => {
            let messages = config.prompting.messages(prompt, system.as_deref());
            chat.encode(&chat.render_prompt(&messages)?, SpecialTokens::Omit)?
        }
    };
    let max_tokens = generator.decoder.config.max_position_embeddings - 1;
    if ids.is_empty() || ids.len() > max_tokens {
        let message = format!(
            "prompt {} must have 1 to {max_tokens} tokens (got {})",
            prompt.id,
            ids.len()
        );
        return Err(Error::input(&generator.name, message, "remove the prompt"));
    }
    Ok(ids)
}

/// The manifest: everything that the generated texts depend on.
fn manifest(generator: &Generator, prompts: &[Prompt], config: &GenerationConfig) -> Value {
    let mut manifest = config.describe();
    let options = generator.adapter_options;
    manifest["weights"] = json!({ "name": generator.name, "revision": generator.revision });
    manifest["prompts"] = prompts::describe(prompts);
    manifest["dtype"] = json!(format!("{:?}", generator.decoder.token_embeddings.dtype()));
    manifest["merged"] = json!(options.mode == AdapterMode::Merged);
    manifest["eos_token_ids"] = json!(generator.eos_token_ids);
    manifest
}

/// Whether a manifest is that of this run, but for some fields. What is known about the adapter's training may
/// differ: the weights are compared by their revision.
pub(super) fn is_same_run(existing: &[u8], manifest: &Value, except: &[&str]) -> bool {
    // Both are parsed, so that their numbers are rounded alike.
    let parse = |bytes: &[u8]| {
        let mut manifest: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        manifest.retain(|field, _| !except.contains(&field.as_str()));
        Some(manifest)
    };
    let manifest = serde_json::to_vec(manifest).ok();
    let manifest = manifest.and_then(|bytes| parse(&bytes));
    manifest.is_some() && manifest == parse(existing)
}
