//! Reference log-probabilities: computed once for all pairs before training, and cached in a file (TRL:
//! `precompute_ref_log_probs`).

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::{Error, Result};
use polyphony_model::lora::Adapter;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::micro_batch;
use crate::data::batch::{Batch, TargetSpan};
use crate::data::example::Example;
use crate::policy::Policy;

/// The reference model's log-probabilities of a pair, in nats, summed over each response's tokens.
///
/// In the cache a line is a JSON object of these two numbers; reading restores them bit for bit. The line of a
/// pair whose log-probabilities are not computed is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RefLogps {
    /// The log-probability of the chosen response.
    pub chosen: f64,
    /// The log-probability of the rejected response.
    pub rejected: f64,
}

/// The first line of the cache: identifies reference model and examples.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    pairs: usize,
    /// The SHA-256 of the lines after this one; `None` in a cache of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// The time between two writes of the cache during the computation.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// The reference model of DPO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceModel {
    /// The initial policy: base model with the adapter that training starts from.
    Init,
    /// The base model without an adapter.
    Base,
    /// The base model with the adapter of this folder.
    Adapter(PathBuf),
}

impl ReferenceModel {
    /// Parses `init`, `base` or a folder.
    pub fn parse(name: &str) -> Self {
        match name {
            "init" => Self::Init,
            "base" => Self::Base,
            folder => Self::Adapter(folder.into()),
        }
    }
}

/// The file of cached log-probabilities.
#[derive(Debug, Clone, Copy)]
pub struct LogpCache<'a> {
    /// The path of the cache.
    pub file: &'a Path,
    /// Whether a cache of other inputs is replaced. Where the user named the file, it is an error instead.
    pub may_replace: bool,
    /// A hash of reference model and examples, which the header must have.
    pub fingerprint: &'a str,
}

/// The reference model's log-probabilities of all examples, in their order: those of the cache, the others
/// computed in micro-batches of `tokens` tokens. An entry without an example is a pair that needs none; they are
/// none unless the cache has them. Returns none once `stop` is set.
///
/// # Errors
/// When the model fails, the cache has other inputs or is another file, or it cannot be written.
#[instrument(name = "reference log-probabilities", level = "debug", skip_all, fields(pairs = examples.len()))]
pub fn reference_logps(
    policy: &mut Policy,
    model: &ReferenceModel,
    examples: &[Option<&Example>],
    cache: LogpCache<'_>,
    tokens: usize,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<Vec<Option<RefLogps>>>> {
    let header = Header {
        fingerprint: cache.fingerprint.to_owned(),
        pairs: examples.len(),
        sha256: None,
    };
    let mut rows = read(cache, &header, progress)?;
    rows.resize(examples.len(), None);
    let missing = examples.iter().enumerate();
    let missing: Vec<(usize, &Example)> = missing
        .filter(|(index, _)| rows[*index].is_none())
        .filter_map(|(index, example)| example.map(|example| (index, example)))
        .collect();
    if missing.is_empty() {
        return Ok(Some(rows));
    }
    let detached = match model {
        ReferenceModel::Init => None,
        ReferenceModel::Base => Some((policy.detach_lora(), policy.lora_config.clone())),
        ReferenceModel::Adapter(folder) => {
            let adapter = Adapter::read(folder)?;
            let before = (policy.detach_lora(), policy.lora_config.clone());
            policy.load_adapter(&adapter)?;
            Some(before)
        }
    };
    let needed = examples.iter().flatten().count();
    let mut computed = needed - missing.len();
    progress.start(
        "reference log-probabilities",
        Some(needed as u64),
        Unit::Rows,
    );
    progress.resume(computed as u64);
    let mut written = Instant::now();
    let tokens = Cell::new(tokens);
    let done = micro_batch::for_each_micro_batch(
        &missing,
        &tokens,
        |(_, example)| example.tokens(),
        micro_batch::parallelism(policy),
        stop,
        |part| pair_logps(policy, part),
        |part| {
            computed += part.len();
            for (index, logps) in part {
                rows[index] = Some(logps);
            }
            progress.set_position(computed as u64);
            if written.elapsed() > WRITE_INTERVAL {
                write(cache.file, &header, &rows)?;
                written = Instant::now();
            }
            Ok(())
        },
    );
    progress.finish();
    if let Some((loras, lora_config)) = detached {
        policy.attach_lora(loras);
        policy.lora_config = lora_config;
    }
    write(cache.file, &header, &rows)?;
    Ok(done?.then_some(rows))
}

/// The log-probabilities of pairs with their indices, in one forward pass.
fn pair_logps(policy: &Policy, pairs: &[(usize, &Example)]) -> Result<Vec<(usize, RefLogps)>> {
    let mut batch = Batch::default();
    for (_, example) in pairs {
        batch.add(&example.chosen, false);
        if let Some(rejected) = &example.rejected {
            batch.add(rejected, false);
        }
    }
    let logps = policy.logps(&batch)?;
    let sum = |span: &TargetSpan| -> f64 {
        let logps = &logps[span.completion.clone()];
        logps.iter().map(|&p| f64::from(p)).sum()
    };
    let spans = batch.texts.chunks_exact(2).zip(pairs);
    let logps = spans.map(|(spans, (index, _))| {
        let logps = RefLogps {
            chosen: sum(&spans[0]),
            rejected: sum(&spans[1]),
        };
        (*index, logps)
    });
    Ok(logps.collect())
}

/// The rows of the cache if its header is `header`; no rows where there is no file, or one that may be
/// replaced. A damaged cache is computed again if it may be replaced, and else is an error.
fn read(
    cache: LogpCache<'_>,
    header: &Header,
    progress: &dyn Progress,
) -> Result<Vec<Option<RefLogps>>> {
    let file = cache.file.display();
    let text = match fs::read(cache.file) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", cache.file)(error)),
    };
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let first: Option<Header> = serde_json::from_str(first).ok();
    let is_same =
        |first: &Header| (&first.fingerprint, first.pairs) == (&header.fingerprint, header.pairs);
    match first {
        Some(first) if is_same(&first) => {
            match &first.sha256 {
                Some(sha256) if hex(&Sha256::digest(rest)) == *sha256 => {}
                Some(_) if cache.may_replace => {
                    progress.message(&format!(
                        "{file}: is damaged (its lines do not agree with its SHA-256), and is computed again"
                    ));
                    return Ok(Vec::new());
                }
                Some(_) => {
                    let message = "is damaged: its lines do not agree with its SHA-256";
                    let hint = "restore it from a copy, or remove it: it is computed again";
                    return Err(Error::input(cache.file, message, hint));
                }
                None => progress.message(&format!(
                    "{file}: an earlier version wrote it without a checksum, so it was not verified"
                )),
            }
            let rows = rest.lines().map_while(|line| match line {
                "null" => Some(None),
                line => parse_row(line).map(Some),
            });
            Ok(rows.take(header.pairs).collect())
        }
        _ if cache.may_replace => Ok(Vec::new()),
        other => {
            let message = match other {
                Some(_) => "contains log-probabilities of other pairs, or of another reference",
                None => "contains no reference log-probabilities",
            };
            let hint = "name another file with --reference-logps, or remove it";
            Err(Error::input(cache.file, message, hint))
        }
    }
}

/// Parses a row of the cache with log-probabilities; none where it is incomplete. `str::parse` is exact, while
/// `serde_json` may lose the last bit of a float.
fn parse_row(line: &str) -> Option<RefLogps> {
    let numbers = line.strip_prefix("{\"chosen\":")?.strip_suffix('}')?;
    let (chosen, rejected) = numbers.split_once(",\"rejected\":")?;
    Some(RefLogps {
        chosen: chosen.parse().ok()?,
        rejected: rejected.parse().ok()?,
    })
}

/// Writes the cache: the header and the rows, each on one line.
fn write(file: &Path, header: &Header, rows: &[Option<RefLogps>]) -> Result<()> {
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&serde_json::to_string(row)?);
        lines.push('\n');
    }
    let header = Header {
        fingerprint: header.fingerprint.clone(),
        pairs: header.pairs,
        sha256: Some(hex(&Sha256::digest(&lines))),
    };
    let header = serde_json::to_string(&header)?;
    write_atomic(file, format!("{header}\n{lines}").as_bytes())
}

/// The error of a reference model whose log-probability is not finite.
pub(super) fn non_finite_error(data: &Path, row: usize) -> Error {
    Error::input(
        data,
        format!("row {row}: the reference model's log-probability is not finite"),
        "check the model's weights, or run with --device cpu",
    )
}

#[cfg(test)]
mod tests {
    use polyphony_io::progress::NoProgress;
    use polyphony_model::chat::PromptCompletion;
    use polyphony_model::decoder::Head;
    use polyphony_model::device::DeviceSpec;
    use polyphony_model::files::ModelFiles;
    use polyphony_model::lora::LoraConfig;

    use super::*;
    use crate::tiny_llama::TinyLlama;

    #[test]
    fn cached_log_probabilities_are_reused_and_other_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        TinyLlama::SMALLEST.write(folder.path()).unwrap();
        let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
        let mut policy = Policy::load(&files, Head::Lm, DeviceSpec::Cpu).unwrap();
        policy.init_lora(&LoraConfig::default(), 1).unwrap();
        let text = |last: u32| PromptCompletion {
            ids: vec![1, 2, last],
            prompt_len: 1,
        };
        let pair = |row: usize| Example {
            chosen: text(row as u32),
            rejected: Some(text(7)),
            weight: 1.0,
            score: 0.0,
            prompt_hash: 0,
            row,
        };
        let (one, two) = (pair(1), pair(2));
        let file = folder.path().join("reference_logps.jsonl");
        let mut logps_of =
            |pairs: [Option<&Example>; 2], fingerprint: &str, may_replace: bool, stopped: bool| {
                let cache = LogpCache {
                    file: &file,
                    may_replace,
                    fingerprint,
                };
                let stop = AtomicBool::new(stopped);
                reference_logps(
                    &mut policy,
                    &ReferenceModel::Init,
                    &pairs,
                    cache,
                    6,
                    &stop,
                    &NoProgress,
                )
            };
        // A pair that is not needed is not computed, until another run needs it.
        let partial = logps_of([None, Some(&two)], "a", false, false);
        let partial = partial.unwrap().unwrap();
        assert_eq!(partial[0], None);
        assert!(fs::read_to_string(&file).unwrap().contains("\nnull\n"));
        let mut logps = |fingerprint: &str, may_replace: bool, stopped: bool| {
            logps_of([Some(&one), Some(&two)], fingerprint, may_replace, stopped)
        };
        assert_eq!(logps("a", false, true).unwrap(), None);
        let complete = logps("a", false, false).unwrap();
        let rows = complete.as_ref().unwrap();
        assert!(rows.len() == 2 && rows[0].is_some() && rows[1] == partial[1]);
        assert_eq!(logps("a", false, true).unwrap(), complete);
        let message = logps("b", false, false).unwrap_err().to_string();
        assert!(
            message.contains("of other pairs, or of another reference"),
            "{message}"
        );
        assert_eq!(logps("b", true, false).unwrap(), complete);
        // A damaged cache is computed again, or refused where the user named it.
        let text = fs::read_to_string(&file).unwrap();
        let changed = text.replacen("\"chosen\":-", "\"chosen\":-1", 1);
        for damaged in [&text[..text.len() - 9], &changed] {
            assert_ne!(damaged, text);
            fs::write(&file, damaged).unwrap();
            let message = logps("b", false, false).unwrap_err().to_string();
            assert!(
                message.contains("reference_logps.jsonl: is damaged"),
                "{message}"
            );
            assert_eq!(logps("b", true, false).unwrap(), complete);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        // The cache of an earlier version has no checksum.
        let (first, rows) = text.split_once('\n').unwrap();
        let (first, _) = first.split_once(",\"sha256\"").unwrap();
        fs::write(&file, format!("{first}}}\n{rows}")).unwrap();
        assert_eq!(logps("b", false, true).unwrap(), complete);
        fs::write(&file, "a story").unwrap();
        let message = logps("b", false, false).unwrap_err().to_string();
        assert!(
            message.contains("contains no reference log-probabilities"),
            "{message}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "a story");
    }
}
