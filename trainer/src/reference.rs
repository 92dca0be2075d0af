//! What does DPO's reference say of each answer? Computed once, kept in a file, taken from there.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::progress::{Progress, Unit};
use polyphony_engine::store::write_whole;
use polyphony_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::data::Example;
use crate::policy::Policy;
use polyphony_engine::model::adapter::Adapter;

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

/// How often the file is written while it grows, in pairs.
const A_PIECE: usize = 2048;

/// Who the reference is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The policy as it starts.
    Init,
    /// The model without an adapter.
    Base,
    /// Another adapter.
    Adapter(PathBuf),
}

impl Who {
    /// Reads `init`, `base` or a folder.
    pub fn named(name: &str) -> Self {
        match name {
            "init" => Self::Init,
            "base" => Self::Base,
            folder => Self::Adapter(folder.into()),
        }
    }
}

/// The reference's log-probabilities of all examples, in their order: from `file` where it belongs
/// to `fingerprint`, else computed, `tokens` at a time. A killed run goes on where it stopped.
///
/// # Errors
/// When the model fails, or the file cannot be written.
pub fn logps(
    policy: &mut Policy,
    who: &Who,
    examples: &[&Example],
    file: &Path,
    fingerprint: &str,
    tokens: usize,
    progress: &dyn Progress,
) -> Result<Vec<Reference>> {
    let header = Header {
        fingerprint: fingerprint.to_owned(),
        pairs: examples.len(),
    };
    let mut known = read(file, &header);
    if known.len() == examples.len() {
        return Ok(known);
    }
    let loras = match who {
        Who::Init => None,
        Who::Base => Some((policy.take_off(), policy.spec.clone())),
        Who::Adapter(folder) => {
            let adapter = Adapter::read(folder)?;
            let before = (policy.take_off(), policy.spec.clone());
            policy.load_adapter(&adapter)?;
            Some(before)
        }
    };
    let all = Some(examples.len() as u64);
    progress.begin("log-probabilities of the reference", all, Unit::Rows);
    let mut done = Ok(());
    while done.is_ok() && known.len() < examples.len() {
        let end = examples.len().min(known.len() + A_PIECE);
        done = piece(
            policy,
            &examples[known.len()..end],
            tokens,
            &mut known,
            progress,
        )
        .and_then(|()| write(file, &header, &known));
    }
    progress.end();
    if let Some((loras, spec)) = loras {
        policy.put_back(loras);
        policy.spec = spec;
    }
    done?;
    Ok(known)
}

fn piece(
    policy: &Policy,
    examples: &[&Example],
    tokens: usize,
    known: &mut Vec<Reference>,
    progress: &dyn Progress,
) -> Result<()> {
    for range in by_tokens(examples.iter().map(|example| example.tokens()), tokens) {
        let mut batch = Batch::default();
        for example in &examples[range] {
            batch.add(&example.chosen, false);
            if let Some(rejected) = &example.rejected {
                batch.add(rejected, false);
            }
        }
        let logps = policy.logps(&batch)?;
        let sums = batch.texts.iter().map(|rows| -> f64 {
            logps[rows.completion.clone()]
                .iter()
                .map(|&p| f64::from(p))
                .sum()
        });
        let sums: Vec<f64> = sums.collect();
        known.extend(sums.chunks_exact(2).map(|pair| Reference {
            chosen: pair[0],
            rejected: pair[1],
        }));
        progress.at(known.len() as u64);
    }
    Ok(())
}

/// Ranges of at most so many tokens, in order; one that is larger alone stands alone.
pub fn by_tokens(sizes: impl Iterator<Item = usize>, tokens: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut held = 0;
    for (place, size) in sizes.enumerate() {
        held += size;
        match ranges.last_mut() {
            Some(last) if held <= tokens => last.end = place + 1,
            _ => {
                ranges.push(place..place + 1);
                held = size;
            }
        }
    }
    ranges
}

/// What a file holds for this header; nothing where it belongs to another run.
fn read(file: &Path, header: &Header) -> Vec<Reference> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines();
    let first = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    if first.as_ref() != Some(header) {
        return Vec::new();
    }
    lines.map_while(pair).collect()
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
    write_whole(file, text.as_bytes())
}

/// The error for a reference that is no number.
pub(crate) fn not_finite(place: usize) -> Error {
    Error::source(
        "reference".as_ref(),
        format!("gives pair {place} a log-probability that is no number"),
        "check the model's weights, or run with --device cpu",
    )
}

#[cfg(test)]
mod tests {
    use super::by_tokens;

    #[test]
    fn ranges_fit_the_budget() {
        let ranges = by_tokens([3, 3, 5, 1, 1, 9, 1].into_iter(), 6);
        assert_eq!(ranges, [0..2, 2..4, 4..5, 5..6, 6..7]);
        assert!(by_tokens(std::iter::empty(), 6).is_empty());
    }
}
