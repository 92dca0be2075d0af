//! Metrics log: `metrics.jsonl`, one line a step and one line an evaluation, as TRL's `log_history`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::{Error, Result};
use serde_json::{Map, Value};

use crate::watch::SampleMeasures;

/// The name of the metrics log in the folder of a run.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// The name of the file with a checksum of each line.
const CHECKSUMS_FILE: &str = "metrics.jsonl.checksums";

/// The metrics log of a run: its lines, in memory and in the file.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    checksums: PathBuf,
    is_unchecked: bool,
    entries: Vec<Entry>,
}

/// A line, with the parsed numbers that the run itself needs.
#[derive(Debug)]
struct Entry {
    /// The text of the line as first written: a number that is parsed and formatted again may lose its last digit.
    line: String,
    step: usize,
    loss: Option<f64>,
    eval_loss: Option<f64>,
    watch: Option<SampleMeasures>,
    collapse: Option<String>,
}

impl Entry {
    /// Parses a line; none where it is incomplete, as after a kill.
    fn parse(line: &str) -> Option<Self> {
        let values: Map<String, Value> = serde_json::from_str(line).ok()?;
        let number = |name: &str| values.get(name)?.as_f64();
        Some(Self {
            line: line.to_owned(),
            step: number("step")? as usize,
            loss: number("loss"),
            eval_loss: number("eval_loss"),
            watch: serde_json::from_str(line).ok(),
            collapse: values
                .get("watch_collapse")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

impl MetricsLog {
    /// An empty log of a folder; nothing is written before the first line.
    pub fn new(out: &Path) -> Self {
        Self {
            path: out.join(METRICS_FILE),
            checksums: out.join(CHECKSUMS_FILE),
            is_unchecked: false,
            entries: Vec::new(),
        }
    }

    /// Opens the log of a folder and removes the lines after `step`, and lines without a checksum: a resumed run
    /// repeats those steps.
    ///
    /// # Errors
    /// When a file cannot be read or written, or a line is not as it was written.
    pub fn open(out: &Path, step: usize) -> Result<Self> {
        let mut log = Self::new(out);
        let text = read(&log.path)?.unwrap_or_default();
        let checksums = read(&log.checksums)?;
        let mut expected = checksums.as_deref().map(str::lines);
        let complete = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for (number, line) in (1..).zip(complete.map(str::trim_end)) {
            match expected.as_mut().map(Iterator::next) {
                Some(None) => break,
                Some(Some(checksum)) if checksum != self::checksum(line) => {
                    let message = format!(
                        "line {number} is damaged: it does not agree with its checksum in {}",
                        log.checksums.display()
                    );
                    let hint = "restore the file from a copy, or choose another --out";
                    return Err(Error::input(&log.path, message, hint));
                }
                _ => log.entries.extend(Entry::parse(line)),
            }
        }
        log.entries.retain(|entry| entry.step <= step);
        log.is_unchecked = checksums.is_none() && !log.entries.is_empty();
        let lines = |text: &dyn Fn(&str) -> String| -> String {
            let lines = log.entries.iter();
            lines.map(|entry| text(&entry.line) + "\n").collect()
        };
        write_atomic(&log.checksums, lines(&checksum).as_bytes())?;
        write_atomic(&log.path, lines(&str::to_owned).as_bytes())?;
        Ok(log)
    }

    /// Whether an earlier version wrote lines, which had no checksums.
    pub fn is_unchecked(&self) -> bool {
        self.is_unchecked
    }

    /// Appends a line, which must have a `step`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, metrics: &Map<String, Value>) -> Result<()> {
        let line = serde_json::to_string(metrics)?;
        let entry = Entry::parse(&line)
            .ok_or_else(|| Error::Internal("metrics without a step".to_owned()))?;
        append(&self.checksums, &checksum(&line))?;
        append(&self.path, &line)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Whether there is a line of an evaluation after this step.
    pub fn is_evaluated(&self, step: usize) -> bool {
        let evaluated = |entry: &Entry| entry.step == step && entry.eval_loss.is_some();
        self.entries.iter().any(evaluated)
    }

    /// Whether there is a line of sampled texts after this step.
    pub fn is_watched(&self, step: usize) -> bool {
        let watched = |entry: &Entry| entry.step == step && entry.watch.is_some();
        self.entries.iter().any(watched)
    }

    /// The measures of sampled texts, in the order of their steps.
    pub fn watched(&self) -> Vec<SampleMeasures> {
        self.entries
            .iter()
            .filter_map(|entry| entry.watch)
            .collect()
    }

    /// The latest measures for the progress line; empty without texts.
    pub fn latest_measures(&self) -> String {
        let latest = self.entries.iter().rev().find_map(|entry| entry.watch);
        latest.map_or_else(String::new, |latest| {
            format!(
                ", semantic {:.3}, style {:.3}, looping {:.0} %",
                latest.semantic,
                latest.style,
                100.0 * latest.looping
            )
        })
    }

    /// The step and the collapse of the latest texts, if they have collapsed.
    pub fn collapse(&self) -> Option<(usize, &str)> {
        let latest = self.entries.iter().rfind(|entry| entry.watch.is_some())?;
        Some((latest.step, latest.collapse.as_deref()?))
    }

    /// The training losses as (step, loss).
    pub fn losses(&self) -> Vec<(f64, f64)> {
        self.curve(|entry| entry.loss)
    }

    /// The losses on the evaluation split as (step, loss).
    pub fn eval_losses(&self) -> Vec<(f64, f64)> {
        self.curve(|entry| entry.eval_loss)
    }

    /// The points (step, loss) of all lines that have this loss.
    fn curve(&self, loss: impl Fn(&Entry) -> Option<f64>) -> Vec<(f64, f64)> {
        let point = |entry: &Entry| Some((entry.step as f64, loss(entry)?));
        self.entries.iter().filter_map(point).collect()
    }
}

/// The text of a file; none where there is none.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Appends a line to a file.
fn append(path: &Path, line: &str) -> Result<()> {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(Error::io("write", path))
}

/// The checksum of a line: 16 hex digits of its SHA-256.
fn checksum(line: &str) -> String {
    hex(&Sha256::digest(line)[..8])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: Value) -> Map<String, Value> {
        let Value::Object(line) = value else {
            unreachable!("an object")
        };
        line
    }

    #[test]
    fn reopening_drops_later_steps_and_incomplete_lines() {
        let out = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(out.path(), 0).unwrap();
        for step in 1..=3 {
            log.append(&line(json!({"step": step, "loss": 0.1})))
                .unwrap();
        }
        log.append(&line(json!({"step": 2, "eval_loss": 0.5})))
            .unwrap();
        let path = out.path().join(METRICS_FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"step\": 1, \"lo");
        fs::write(&path, text).unwrap();
        let log = MetricsLog::open(out.path(), 2).unwrap();
        assert_eq!(log.losses(), [(1.0, 0.1), (2.0, 0.1)]);
        assert_eq!(log.eval_losses(), [(2.0, 0.5)]);
        assert!(log.is_evaluated(2) && !log.is_evaluated(1));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn damaged_lines_are_an_error() {
        let out = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(out.path(), 0).unwrap();
        for step in 1..=3 {
            log.append(&line(json!({"step": step, "loss": 0.125})))
                .unwrap();
        }
        drop(log);
        let path = out.path().join(METRICS_FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            text.replacen("0.125", "0.126", 1),
            text.replacen('\n', " ", 1),
        ] {
            fs::write(&path, &damaged).unwrap();
            let error = MetricsLog::open(out.path(), 3).unwrap_err().to_string();
            assert!(
                error.contains("metrics.jsonl: line 1 is damaged"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
        // Lines that were cut are repeated; those of an earlier version are not checked.
        fs::write(&path, &text[..text.len() - 4]).unwrap();
        let log = MetricsLog::open(out.path(), 3).unwrap();
        assert!(log.losses().len() == 2 && !log.is_unchecked());
        fs::remove_file(out.path().join(CHECKSUMS_FILE)).unwrap();
        assert!(MetricsLog::open(out.path(), 3).unwrap().is_unchecked());
        assert!(!MetricsLog::open(out.path(), 3).unwrap().is_unchecked());
    }
}
