//! How are samples to many prompts written to a file, and gone on with after a kill?

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::prompts::Prompt;
use super::{GenerationRequest, Generator};
use crate::chat::Message;
use crate::generate::sampling::SamplingParams;
use crate::{Error, Result};
use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::{fnv1a, mix64};
use polyphony_io::progress::{Progress, Unit};

/// What is asked of a model.
#[derive(Debug, Clone)]
pub struct GenerationConfig {
    /// What the lines call the model.
    pub name: String,
    /// Said before every prompt.
    pub system: Option<String>,
    /// Whether prompts go in as they are, without the chat template.
    pub plain: bool,
    /// How many texts to a prompt.
    pub samples: usize,
    /// How many tokens a text has at most.
    pub max_tokens: usize,
    /// How the next token is chosen.
    pub sampling: SamplingParams,
    /// Where random numbers begin.
    pub seed: u64,
    /// How many texts are written at a time.
    pub batch_size: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Texts written now.
    pub texts: usize,
    /// Texts that stood there already.
    pub before: usize,
    /// Texts that are still to be written.
    pub left: usize,
    /// Texts that the limit cut, of those written now.
    pub cut: usize,
    /// Tokens a second, prompts not counted.
    pub rate: f64,
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    model: &'a str,
    prompt_id: &'a str,
    sample: usize,
    prompt: &'a str,
    response: &'a str,
    tokens: usize,
    finish: &'a str,
}

/// Writes the samples of all prompts to `out`, a JSON line each, by prompt and sample; `out.json`
/// beside it says how they were made. The same command goes on where a killed run stopped.
///
/// # Errors
/// When `out` was made otherwise, a prompt leaves the model no room, or the device fails.
pub fn run(
    generator: &Generator,
    prompts: &[Prompt],
    how: &GenerationConfig,
    out: &Path,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Summary> {
    let asked = prompts.iter().map(|prompt| asked(generator, prompt, how));
    let asked: Vec<Vec<u32>> = asked.collect::<Result<_>>()?;
    let mut file = claim(generator, prompts, how, out)?;
    let before = whole_lines(&mut file, out)?;
    let all = prompts.len() * how.samples;
    if before > all {
        let message = format!("holds {before} lines, {all} were asked for");
        return Err(Error::input(out, message, "choose another --out"));
    }
    if before > 0 {
        progress.message(&format!(
            "{before} of {all} texts stand in {} already",
            out.display()
        ));
    }
    let tasks: Vec<GenerationRequest> = (before..all)
        .map(|number| {
            let (prompt, sample) = (number / how.samples, number % how.samples);
            let ids = asked[prompt].clone();
            let room = generator.decoder.config.max_tokens - ids.len();
            // It depends on nothing but the run's seed, the prompt and the sample's number.
            let seed = mix64(how.seed) ^ fnv1a(prompts[prompt].id.as_bytes());
            GenerationRequest {
                prompt: ids,
                seed: mix64(seed.wrapping_add(sample as u64)),
                most: how.max_tokens.min(room),
            }
        })
        .collect();
    progress.start("writing", Some(tasks.len() as u64), Unit::Rows);
    let (begun, mut tokens, mut cut) = (Instant::now(), 0, 0);
    let mut texts = 0;
    generator.write(
        &tasks,
        &how.sampling,
        how.batch_size,
        stop,
        &mut |number, completions| {
            let prompt = &prompts[(before + number) / how.samples];
            let text = generator.chat.decode(&completions.tokens)?;
            let line = Line {
                model: &how.name,
                prompt_id: &prompt.id,
                sample: (before + number) % how.samples,
                prompt: &prompt.text,
                response: &text,
                tokens: completions.tokens.len(),
                finish: if completions.ended { "stop" } else { "length" },
            };
            let mut line = serde_json::to_string(&line).unwrap_or_default();
            line.push('\n');
            file.write_all(line.as_bytes())
                .map_err(Error::io("write", out))?;
            tokens += completions.tokens.len();
            cut += usize::from(!completions.ended);
            texts += 1;
            progress.set_position(texts as u64);
            let rate = tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9);
            progress.set_rate(&format!("{rate:.0} tokens/s"));
            Ok(())
        },
    )?;
    progress.finish();
    file.sync_all().map_err(Error::io("write", out))?;
    Ok(Summary {
        texts,
        before,
        left: all - before - texts,
        cut,
        rate: tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9),
    })
}

/// What the model reads before it answers a prompt.
fn asked(generator: &Generator, prompt: &Prompt, how: &GenerationConfig) -> Result<Vec<u32>> {
    let ids = if how.plain {
        generator.chat.encode(&prompt.text, true)?
    } else {
        let system = how.system.iter().map(|system| Message {
            role: "system".to_owned(),
            content: system.clone(),
        });
        let messages: Vec<Message> = system.chain(prompt.messages.iter().cloned()).collect();
        generator
            .chat
            .encode(&generator.chat.render(&messages, true)?, false)?
    };
    let most = generator.decoder.config.max_tokens - 1;
    if ids.is_empty() || ids.len() > most {
        let message = format!("prompt {} has {} tokens", prompt.id, ids.len());
        let hint = format!("the model takes 1 to {most}: leave it out");
        return Err(Error::input(&generator.name, message, hint));
    }
    Ok(ids)
}

/// Opens the file for more lines; beside it stands how they are made, which must not differ.
fn claim(
    generator: &Generator,
    prompts: &[Prompt],
    how: &GenerationConfig,
    out: &Path,
) -> Result<File> {
    let mut words = Vec::new();
    for prompt in prompts {
        words.extend(prompt.id.bytes().chain([0]));
        for message in &prompt.messages {
            words.extend(
                message
                    .role
                    .bytes()
                    .chain([0])
                    .chain(message.content.bytes())
                    .chain([0]),
            );
        }
    }
    let sampling = &how.sampling;
    let about = json!({
        "made_with": { "polyphony": env!("CARGO_PKG_VERSION") },
        "model": how.name,
        "weights": { "name": generator.name, "revision": generator.revision },
        "prompts": { "count": prompts.len(), "hash": format!("{:016x}", fnv1a(&words)) },
        "precision": format!("{:?}", generator.decoder.words.dtype()),
        "adapter_is_live": generator.live,
        "system": how.system,
        "chat": !how.plain,
        "samples": how.samples,
        "max_tokens": how.max_tokens,
        "temperature": decimal(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": decimal(sampling.top_p),
        "min_p": decimal(sampling.min_p),
        "repetition_penalty": decimal(sampling.repetition_penalty),
        "seed": how.seed,
        "stop_tokens": generator.eos_token_ids,
    });
    let mut text = serde_json::to_string_pretty(&about).unwrap_or_default();
    text.push('\n');
    let mut beside = out.as_os_str().to_owned();
    beside.push(".json");
    let beside = Path::new(&beside);
    match std::fs::read_to_string(beside) {
        Ok(there) if there == text => {}
        Ok(_) => {
            let message = "holds texts that were made otherwise";
            let hint = "choose another --out, or remove it and the .json beside it";
            return Err(Error::input(out, message, hint));
        }
        Err(_) if out.exists() => {
            let message = "is there already, and nothing says how it was made";
            return Err(Error::input(out, message, "choose another --out"));
        }
        Err(_) => write_atomic(beside, text.as_bytes())?,
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

/// A number as it was typed, not as f64 sees its f32.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// How many whole lines stand there; what a kill left of another is cut off.
fn whole_lines(file: &mut File, out: &Path) -> Result<usize> {
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
