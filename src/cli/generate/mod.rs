//! `polyphony generate`: samples a model's responses to a file of prompts, or writes requests for an API that does,
//! and reads its responses.

mod adapter_scale;
mod arguments;
mod provenance;
mod request_field;
mod summary;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use polyphony_io::Error;
use polyphony_model::device::DeviceSpec;
use polyphony_model::generate::batch::{self, ResponseCounts};
use polyphony_model::generate::config::GenerationConfig;
use polyphony_model::generate::job;
use polyphony_model::generate::prompts::{self, Prompt};
use polyphony_model::generate::{AdapterMode, AdapterOptions, Generator};

pub(crate) use self::arguments::Arguments;
use self::summary::{print_answers, print_summary, reasons};
use super::terminal::{self, Bars};

/// The number of requests that a batch of the OpenAI API may have.
const MAX_BATCH: usize = 50_000;

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let device = DeviceSpec::parse(&arguments.device)?;
    adapter_scale::refuse_repeated(&arguments.adapter_scale)?;
    arguments.refuse_request_options()?;
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
    let ctrl_c = terminal::stop_on_ctrl_c("stopping after the current tokens");
    let stop = ctrl_c.flag();
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
    let files = adapter_scale::files(&arguments.adapter_scale, out);
    let total = files.len();
    for (number, (scale, out)) in files.into_iter().enumerate() {
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
        print_summary(&summary, &out)?;
        let remaining = total - number - 1;
        if stop.load(Ordering::Relaxed) && remaining > 0 {
            let message = format!(
                "{remaining} of {total} adapter scales remain: run the same command to resume"
            );
            return Err(Error::Cancelled(message).into());
        }
    }
    Ok(())
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
        terminal::print_message(&format!(
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
        terminal::print_message(&format!(
            "{missing} of {requested} completions have no response{reasons}"
        ));
    }
    if let Some(answers) = &counts.answers {
        print_answers(answers, out);
    }
    Ok(())
}
