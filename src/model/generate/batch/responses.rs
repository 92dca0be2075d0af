//! Batch responses: the output lines of a batch become output rows, matched to their requests by `custom_id`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{RequestId, request_ids};
use crate::chat::message_content;
use crate::generate::config::GenerationConfig;
use crate::generate::job::{is_same_run, write_split};
use crate::generate::output::{self, OUTPUT_SHA256};
use crate::generate::prompting::Prompting;
use crate::generate::prompts::{self, Prompt};
use crate::generate::row::{OutputRow, UnparsedRow, with_ending, write_rows, write_unparsed};
use crate::generate::verbalized::{self, AnswerCounts};
use crate::{Error, Result};
use polyphony_io::atomic::write_json;
use polyphony_io::format::find_files;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};

/// Counts of the responses of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseCounts {
    /// Completions that were asked for.
    pub requested: usize,
    /// Completions with a text.
    pub completions: usize,
    /// Completions that reached the maximum number of tokens.
    pub truncated: usize,
    /// Lines and choices without a usable text, by reason.
    pub unparsed: BTreeMap<&'static str, usize>,
    /// Verbalized sampling: the answers in the completions.
    pub answers: Option<AnswerCounts>,
}

/// Why a line or a choice of a batch gives no text.
mod reason {
    /// The line is no JSON object with a `custom_id`.
    pub(super) const NOT_A_RESPONSE: &str = "not_a_response";
    /// No request has this `custom_id`.
    pub(super) const UNKNOWN_ID: &str = "unknown_custom_id";
    /// The server reports an error.
    pub(super) const ERROR: &str = "error";
    /// The choice has no text, as a refusal.
    pub(super) const NO_TEXT: &str = "no_text";
    /// The completion was there before, as in the output of a repeated request.
    pub(super) const DUPLICATE: &str = "duplicate";
    /// The response has more choices than the request asked for.
    pub(super) const TOO_MANY: &str = "too_many";
}

/// Reads the output files of a batch whose requests [`super::write_requests`] wrote from the same prompts and
/// options, and writes rows, manifest and what has no text as a generation run does.
///
/// # Errors
/// When a file cannot be read or written, `out` exists with another manifest, or no response has a text.
pub fn read_responses(
    files: &[PathBuf],
    prompts: &[Prompt],
    config: &GenerationConfig,
    single_choice: bool,
    out: &Path,
    progress: &dyn Progress,
) -> Result<ResponseCounts> {
    let ids = request_ids(prompts, config, single_choice)?;
    let mut responses = Responses {
        prompts,
        config,
        requests: ids.iter().map(|id| (id.custom_id.as_str(), id)).collect(),
        rows: BTreeMap::new(),
        unparsed: Vec::new(),
        counts: ResponseCounts {
            requested: ids.iter().map(|id| id.completions).sum(),
            ..ResponseCounts::default()
        },
    };
    let mut sources = Vec::new();
    let options = ReadOptions {
        columns: None,
        is_row: &|fields| fields.contains_key("custom_id"),
    };
    for source in find_files(files, &|_| true)? {
        progress.start("reading responses", Some(source.bytes), Unit::Bytes);
        let outcome = records::read(&source, &options, progress, &mut |(_, object)| {
            match object {
                Ok(object) => responses.line(&object),
                Err(text) => responses.skip("", 0, reason::NOT_A_RESPONSE, text.to_owned()),
            }
            Ok(())
        })?;
        progress.finish();
        let outcome = outcome.require_complete(&source.path)?;
        let name = source.path.file_name().unwrap_or_default();
        sources.push(json!({ "file": name.to_string_lossy(), "sha256": outcome.sha256 }));
    }
    let Responses {
        rows,
        mut unparsed,
        mut counts,
        ..
    } = responses;
    let rows: Vec<OutputRow> = rows.into_values().collect();
    if rows.is_empty() {
        let reasons: Vec<String> = counts
            .unparsed
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let message = format!("has no text to any request ({})", reasons.join(", "));
        let hint = "name the batch's output file, and give the options of --write-requests again";
        let first = files.first().cloned().unwrap_or_default();
        return Err(Error::input(first, message, hint));
    }
    counts.completions = rows.len();
    counts.truncated = rows
        .iter()
        .filter(|row| row.finish_reason == "length")
        .count();
    let mut manifest = config.describe();
    manifest["prompts"] = prompts::describe(prompts);
    manifest["responses"] = json!(sources);
    claim(out, &manifest)?;
    if let Prompting::Verbalized(options) = config.prompting {
        let mut split = verbalized::split(&rows, options.answers);
        split.unparsed.append(&mut unparsed);
        counts.answers = Some(write_split(&split, out)?);
    } else {
        write_unparsed(out, &unparsed)?;
        write_rows(out, &rows)?;
    }
    output::record(out, &manifest)?;
    Ok(counts)
}

/// Writes the manifest `out.json`; an error if `out` was written with other options. The responses may be others,
/// as after a batch that repeats failed requests.
fn claim(out: &Path, manifest: &Value) -> Result<()> {
    let path = with_ending(out, "json");
    if out.exists() {
        let existing = std::fs::read(&path).unwrap_or_default();
        if !is_same_run(&existing, manifest, &["responses", OUTPUT_SHA256]) {
            let message = format!("was written with other options, see {}", path.display());
            let hint = "choose another --out, or remove both files";
            return Err(Error::input(out, message, hint));
        }
    }
    write_json(&path, manifest)
}

/// The responses read so far.
struct Responses<'a> {
    prompts: &'a [Prompt],
    config: &'a GenerationConfig,
    /// `custom_id` to request.
    requests: HashMap<&'a str, &'a RequestId>,
    /// (prompt, completion) to its row.
    rows: BTreeMap<(usize, usize), OutputRow>,
    unparsed: Vec<UnparsedRow>,
    counts: ResponseCounts,
}

impl Responses<'_> {
    /// Counts and keeps what gives no text.
    fn skip(&mut self, id: &str, completion: usize, reason: &'static str, text: String) {
        *self.counts.unparsed.entry(reason).or_default() += 1;
        self.unparsed.push(UnparsedRow {
            prompt_id: id.to_owned(),
            completion_index: completion,
            reason: reason.to_owned(),
            text,
        });
    }

    /// Reads an output line: `custom_id`, and `response.body` with `choices`, or `error`.
    fn line(&mut self, line: &Map<String, Value>) {
        let text = || Value::Object(line.clone()).to_string();
        let Some(custom_id) = line.get("custom_id").and_then(Value::as_str) else {
            return self.skip("", 0, reason::NOT_A_RESPONSE, text());
        };
        let Some(request) = self.requests.get(custom_id).copied() else {
            return self.skip(custom_id, 0, reason::UNKNOWN_ID, text());
        };
        let body = line.get("response").map(|response| &response["body"]);
        let Some(choices) = body.and_then(|body| body["choices"].as_array()) else {
            return self.skip(custom_id, request.first, reason::ERROR, text());
        };
        // The usage counts the tokens of all choices together.
        let tokens = body.and_then(|body| body["usage"]["completion_tokens"].as_u64());
        let tokens = tokens.filter(|_| choices.len() == 1);
        for (position, choice) in choices.iter().enumerate() {
            let index = choice["index"].as_u64();
            let index = index.map_or(position, |index| index as usize);
            let completion = request.first.saturating_add(index);
            let content = message_content(&choice["message"]["content"]);
            let content = content.or_else(|| message_content(&choice["text"]));
            let key = (request.prompt, completion);
            let why = match content {
                _ if index >= request.completions => reason::TOO_MANY,
                _ if self.rows.contains_key(&key) => reason::DUPLICATE,
                Some(response) if !response.trim().is_empty() => {
                    let prompt = &self.prompts[request.prompt];
                    let finish_reason = choice["finish_reason"].as_str().unwrap_or("stop");
                    let row = OutputRow {
                        model: self.config.name.clone(),
                        prompt_id: prompt.id.clone(),
                        sample: completion,
                        prompt: prompt.text.clone(),
                        response,
                        tokens: tokens.map(|tokens| tokens as usize),
                        finish_reason: finish_reason.to_owned(),
                        probability: None,
                        completion_index: None,
                        adapter_scale: None,
                    };
                    self.rows.insert(key, row);
                    continue;
                }
                _ => reason::NO_TEXT,
            };
            self.skip(custom_id, completion, why, choice.to_string());
        }
    }
}
