//! What does DPO's reference say of each answer? Computed once, kept in a file, taken from there.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use polyphony_io::atomic::write_atomic;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, TargetSpan};
use crate::data::Example;
use crate::pass;
use crate::policy::Policy;
use polyphony_model::lora::Adapter;

/// A pair's log-probabilities by the reference, summed over each answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// Of the chosen answer.
    pub chosen: f64,
    /// Of the rejected one.
    pub rejected: f64,
}

/// The first line of the file: what the numbers on the lines below belong to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    pairs: usize,
}

/// How often the file is written while it grows.
const MINUTE: Duration = Duration::from_mins(1);

/// Who the reference is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceModel {
    /// The policy as it starts.
    Init,
    /// The model without an adapter.
    Base,
    /// Another adapter.
    Adapter(PathBuf),
}

impl ReferenceModel {
    /// Reads `init`, `base` or a folder.
    pub fn named(name: &str) -> Self {
        match name {
            "init" => Self::Init,
            "base" => Self::Base,
            folder => Self::Adapter(folder.into()),
        }
    }
}

/// Where the numbers are kept, and what they belong to.
#[derive(Debug, Clone, Copy)]
pub struct LogpCache<'a> {
    /// The file.
    pub file: &'a Path,
    /// Whether it may be replaced where it belongs to something else: not where a user named it.
    pub replaces: bool,
    /// A hash of the reference and the examples.
    pub fingerprint: &'a str,
}

/// The reference's log-probabilities of all examples, in their order: from a file where it belongs
/// to them, else computed, `tokens` at a time; none once `stop` is set. A run that was killed or
/// stopped goes on where it was.
///
/// # Errors
/// When the model fails, the file is another's, or cannot be written.
pub fn logps(
    policy: &mut Policy,
    who: &ReferenceModel,
    examples: &[&Example],
    kept: LogpCache<'_>,
    tokens: usize,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<Vec<Reference>>> {
    let header = Header {
        fingerprint: kept.fingerprint.to_owned(),
        pairs: examples.len(),
    };
    let mut known = read(kept, &header)?;
    if known.len() == examples.len() {
        return Ok(Some(known));
    }
    let loras = match who {
        ReferenceModel::Init => None,
        ReferenceModel::Base => Some((policy.take_off(), policy.lora_config.clone())),
        ReferenceModel::Adapter(folder) => {
            let adapter = Adapter::read(folder)?;
            let before = (policy.take_off(), policy.lora_config.clone());
            policy.load_adapter(&adapter)?;
            Some(before)
        }
    };
    let all = Some(examples.len() as u64);
    progress.start("log-probabilities of the reference", all, Unit::Rows);
    let mut written = Instant::now();
    let rest = &examples[known.len()..];
    let tokens = Cell::new(tokens);
    let done = pass::each(
        rest,
        &tokens,
        |example| example.tokens(),
        pass::at_once(policy),
        stop,
        |part| of(policy, part),
        |part| {
            known.extend(part);
            progress.set_position(known.len() as u64);
            if written.elapsed() > MINUTE {
                write(kept.file, &header, &known)?;
                written = Instant::now();
            }
            Ok(())
        },
    );
    progress.finish();
    if let Some((loras, lora_config)) = loras {
        policy.put_back(loras);
        policy.lora_config = lora_config;
    }
    write(kept.file, &header, &known)?;
    Ok(done?.then_some(known))
}

/// The log-probabilities of pairs that go through the model together.
fn of(policy: &Policy, examples: &[&Example]) -> Result<Vec<Reference>> {
    let mut batch = Batch::default();
    for example in examples {
        batch.add(&example.chosen, false);
        if let Some(rejected) = &example.rejected {
            batch.add(rejected, false);
        }
    }
    let logps = policy.logps(&batch)?;
    let sum = |rows: &TargetSpan| -> f64 {
        let logps = &logps[rows.completion.clone()];
        logps.iter().map(|&p| f64::from(p)).sum()
    };
    let pairs = batch.texts.chunks_exact(2);
    Ok(pairs
        .map(|pair| Reference {
            chosen: sum(&pair[0]),
            rejected: sum(&pair[1]),
        })
        .collect())
}

/// What a file holds for this header; nothing where it may be replaced.
fn read(kept: LogpCache<'_>, header: &Header) -> Result<Vec<Reference>> {
    let text = match fs::read(kept.file) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", kept.file)(error)),
    };
    let mut lines = text.lines();
    let first: Option<Header> = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    match first {
        Some(first) if first == *header => Ok(lines.map_while(pair).take(header.pairs).collect()),
        _ if kept.replaces => Ok(Vec::new()),
        other => {
            let message = match other {
                Some(_) => "holds the log-probabilities of other pairs, or of another reference",
                None => "holds no log-probabilities",
            };
            let hint = "name another file with --reference-logps, or remove it";
            Err(Error::input(kept.file, message, hint))
        }
    }
}

/// `chosen,rejected`, read to the last digit.
fn pair(line: &str) -> Option<Reference> {
    let (chosen, rejected) = line.split_once(',')?;
    Some(Reference {
        chosen: chosen.parse().ok()?,
        rejected: rejected.parse().ok()?,
    })
}

fn write(file: &Path, header: &Header, known: &[Reference]) -> Result<()> {
    let mut text = serde_json::to_string(header).unwrap_or_default();
    for Reference { chosen, rejected } in known {
        let _ = write!(text, "\n{chosen},{rejected}");
    }
    write_atomic(file, text.as_bytes())
}

/// The error for a reference that is no number.
pub(crate) fn not_finite(row: usize) -> Error {
    Error::input(
        "reference",
        format!("gives row {row} of the pairs a log-probability that is no number"),
        "check the model's weights, or run with --device cpu",
    )
}

#[cfg(test)]
mod tests {
    use polyphony_io::progress::NoProgress;
    use polyphony_model::chat::Tokens;
    use polyphony_model::decoder::Head;
    use polyphony_model::device::DeviceSpec;
    use polyphony_model::files::ModelFiles;
    use polyphony_model::lora::LoraConfig;

    use super::*;
    use crate::tiny::TinyLlama;

    #[test]
    fn what_is_known_is_kept_and_what_is_anothers_stays() {
        let folder = tempfile::tempdir().unwrap();
        TinyLlama::SMALLEST.write(folder.path()).unwrap();
        let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
        let mut policy = Policy::bare(&files, Head::Words, DeviceSpec::Cpu).unwrap();
        policy.adapt(&LoraConfig::default(), 1).unwrap();
        let text = |last: u32| Tokens {
            ids: vec![1, 2, last],
            prompt: 1,
        };
        let pair = |row: usize| Example {
            chosen: text(row as u32),
            rejected: Some(text(7)),
            weight: 1.0,
            score: 0.0,
            prompt: 0,
            row,
        };
        let (one, two) = (pair(1), pair(2));
        let file = folder.path().join("reference.csv");
        let mut known = |fingerprint: &str, replaces: bool, stopped: bool| {
            let kept = LogpCache {
                file: &file,
                replaces,
                fingerprint,
            };
            let stop = AtomicBool::new(stopped);
            logps(
                &mut policy,
                &ReferenceModel::Init,
                &[&one, &two],
                kept,
                6,
                &stop,
                &NoProgress,
            )
        };
        assert_eq!(known("a", false, true).unwrap(), None);
        let whole = known("a", false, false).unwrap();
        assert_eq!(whole.as_ref().map(Vec::len), Some(2));
        assert_eq!(known("a", false, true).unwrap(), whole);
        let said = known("b", false, false).unwrap_err().to_string();
        assert!(
            said.contains("of other pairs, or of another reference"),
            "{said}"
        );
        assert_eq!(known("b", true, false).unwrap(), whole);
        fs::write(&file, "a story").unwrap();
        let said = known("b", false, false).unwrap_err().to_string();
        assert!(said.contains("holds no log-probabilities"), "{said}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "a story");
    }
}
