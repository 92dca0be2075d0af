//! Generation job: writes the samples of many prompts to a JSON Lines file; the same command resumes a killed
//! run.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::prompts::Prompt;
use super::{AdapterMode, FinishReason, GenerationRequest, Generator};
use crate::chat::Message;
use crate::generate::sampling::SamplingParams;
use crate::tokenizer::SpecialTokens;
use crate::{Error, Result};
use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::{fnv1a, mix64};
use polyphony_io::progress::{Progress, Unit};

/// The options of a generation job.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    /// Model name in the output lines.
    pub name: String,
    /// Prompt format: how a prompt becomes the model's input.
    pub prompt_format: PromptFormat,
    /// Number of samples per prompt.
    pub samples_per_prompt: usize,
    /// Maximum number of new tokens per text.
    pub max_new_tokens: usize,
    /// The sampling parameters.
    pub sampling: SamplingParams,
    /// Random seed of all sampling.
    pub seed: u64,
    /// Batch size: the number of texts generated at a time.
    pub batch_size: usize,
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

/// The result of a generation job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Texts written by this run.
    pub written: usize,
    /// Texts that the file had before this run.
    pub resumed: usize,
    /// Texts still to be written, when Ctrl-C stopped the run.
    pub remaining: usize,
    /// Texts written by this run that reached the maximum number of tokens.
    pub truncated: usize,
    /// Generated tokens per second.
    pub tokens_per_second: f64,
}

/// A line of the output file, in the format that `eval` reads.
#[derive(Debug, Serialize)]
struct OutputLine<'a> {
    model: &'a str,
    prompt_id: &'a str,
    sample: usize,
    prompt: &'a str,
    response: &'a str,
    tokens: usize,
    finish_reason: &'a str,
}

/// Writes the samples of all prompts to `out`, one JSON line each, ordered by prompt and sample. The manifest
/// `out.json` next to it records the options. The same command resumes a killed run.
///
/// # Errors
/// When `out` was written with other options, a prompt leaves no room in the context, or the device fails.
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
        .map(|prompt| encode_prompt(generator, prompt, &config.prompt_format))
        .collect::<Result<_>>()?;
    let mut file = open_output(generator, prompts, config, out)?;
    let resumed = count_complete_lines(&mut file, out)?;
    let samples = config.samples_per_prompt;
    let total = prompts.len() * samples;
    if resumed > total {
        let message = format!("has {resumed} lines, more than the {total} texts to generate");
        return Err(Error::input(out, message, "choose another --out"));
    }
    if resumed > 0 {
        progress.message(&format!(
            "resuming: {} has {resumed} of {total} texts",
            out.display()
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
                max_new_tokens: config.max_new_tokens.min(room),
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
            let mut line = serde_json::to_vec(&OutputLine {
                model: &config.name,
                prompt_id: &prompt.id,
                sample: (resumed + number) % samples,
                prompt: &prompt.text,
                response: &response,
                tokens: completion.tokens.len(),
                finish_reason: completion.finish_reason.name(),
            })?;
            line.push(b'\n');
            file.write_all(&line).map_err(Error::io("write", out))?;
            tokens += completion.tokens.len();
            truncated += usize::from(completion.finish_reason == FinishReason::Length);
            written += 1;
            progress.set_position(written as u64);
            progress.set_rate(&format!("{:.0} tokens/s", rate(tokens)));
            Ok(())
        },
    )?;
    progress.finish();
    file.sync_all().map_err(Error::io("write", out))?;
    Ok(Summary {
        written,
        resumed,
        remaining: total - resumed - written,
        truncated,
        tokens_per_second: rate(tokens),
    })
}

/// The model's input of a prompt.
fn encode_prompt(
    generator: &Generator,
    prompt: &Prompt,
    format: &PromptFormat,
) -> Result<Vec<u32>> {
    let chat = &generator.chat;
    let ids = match format {
        PromptFormat::Plain => chat.encode(&prompt.text, SpecialTokens::Add)?,
        PromptFormat::Chat { system } => {
            let system = system.iter().map(|system| Message {
                role: "system".to_owned(),
                content: system.clone(),
            });
            let messages: Vec<Message> = system.chain(prompt.messages.iter().cloned()).collect();
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

/// Opens the output file for appending. Writes its manifest, or compares it if the output exists.
fn open_output(
    generator: &Generator,
    prompts: &[Prompt],
    config: &GenerationConfig,
    out: &Path,
) -> Result<File> {
    let mut manifest = serde_json::to_string_pretty(&manifest(generator, prompts, config))?;
    manifest.push('\n');
    let mut path = out.as_os_str().to_owned();
    path.push(".json");
    let path = Path::new(&path);
    match std::fs::read_to_string(path) {
        Ok(existing) if existing == manifest => {}
        Ok(_) => {
            let message = format!("was written with other options, see {}", path.display());
            let hint = "choose another --out, or remove both files";
            return Err(Error::input(out, message, hint));
        }
        Err(_) if out.exists() => {
            let message = format!("exists without its manifest {}", path.display());
            return Err(Error::input(out, message, "choose another --out"));
        }
        Err(_) => write_atomic(path, manifest.as_bytes())?,
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(out);
    let file = file.map_err(Error::io("write", out))?;
    file.try_lock().map_err(|_| {
        Error::input(
            out,
            "is being written by another run",
            "wait for it, or choose another --out",
        )
    })?;
    Ok(file)
}

/// The manifest: everything that the generated texts depend on.
fn manifest(
    generator: &Generator,
    prompts: &[Prompt],
    config: &GenerationConfig,
) -> serde_json::Value {
    let mut bytes = Vec::new();
    for prompt in prompts {
        bytes.extend(prompt.id.bytes().chain([0]));
        for message in &prompt.messages {
            bytes.extend(message.role.bytes().chain([0]));
            bytes.extend(message.content.bytes().chain([0]));
        }
    }
    let (chat_template, system_prompt) = match &config.prompt_format {
        PromptFormat::Chat { system } => (true, system.as_deref()),
        PromptFormat::Plain => (false, None),
    };
    let sampling = &config.sampling;
    json!({
        "made_with": { "polyphony": env!("CARGO_PKG_VERSION") },
        "model": config.name,
        "weights": { "name": generator.name, "revision": generator.revision },
        "prompts": { "count": prompts.len(), "hash": format!("{:016x}", fnv1a(&bytes)) },
        "dtype": format!("{:?}", generator.decoder.token_embeddings.dtype()),
        "merged": generator.adapter_mode == AdapterMode::Merged,
        "system_prompt": system_prompt,
        "chat_template": chat_template,
        "samples": config.samples_per_prompt,
        "max_tokens": config.max_new_tokens,
        "temperature": decimal(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": decimal(sampling.top_p),
        "min_p": decimal(sampling.min_p),
        "repetition_penalty": decimal(sampling.repetition_penalty),
        "seed": config.seed,
        "eos_token_ids": generator.eos_token_ids,
    })
}

/// An f32 as the f64 with the same shortest decimal: 0.95, not 0.949999988079071.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// The number of complete lines of the file. An incomplete last line, left by a killed run, is removed.
fn count_complete_lines(file: &mut File, out: &Path) -> Result<usize> {
    let failed = || Error::io("read", out);
    let mut reader = BufReader::new(&*file);
    let (mut lines, mut end) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(failed())?;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        lines += 1;
        end += read as u64;
    }
    file.set_len(end).map_err(Error::io("write", out))?;
    file.seek(SeekFrom::Start(end)).map_err(failed())?;
    Ok(lines)
}
