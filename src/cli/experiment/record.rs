//! Record of an experiment (`experiment.json`): which steps are done, by which command, from which inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polyphony_io::atomic::write_json;
use polyphony_io::hash::sha256_file;
use polyphony_io::{Error, Result};
use serde::{Deserialize, Serialize};

use super::plan::Step;

/// A step that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StepRecord {
    /// The arguments of `polyphony`.
    pub(super) command: Vec<String>,
    /// SHA-256 of the outputs of the steps that it read, by step.
    pub(super) inputs: BTreeMap<String, String>,
    /// The output file.
    pub(super) output: PathBuf,
    /// SHA-256 of the output.
    pub(super) sha256: String,
    /// The time that the command took, in seconds, over all its runs that this file knows of.
    pub(super) seconds: f64,
}

/// What is known of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The version of the program.
    pub(super) version: String,
    /// The experiment file.
    pub(super) file: PathBuf,
    /// SHA-256 of its text.
    pub(super) file_sha256: String,
    /// Whether the table `small` was used.
    pub(super) small: bool,
    /// The options in which conditions differ, with the value of each condition.
    pub(super) differences: BTreeMap<String, BTreeMap<String, String>>,
    /// The steps that are done, by name.
    pub(super) steps: BTreeMap<String, StepRecord>,
    /// The steps that failed at the last attempt, with their errors.
    pub(super) failed: BTreeMap<String, String>,
}

/// The file's name in the folder of an experiment.
const FILE: &str = "experiment.json";

impl Record {
    /// Reads the record of a folder; an empty one where there is none.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Error::io("read", &file)(error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let hint =
                "remove the file: steps that are done are then run again, and find their outputs";
            Error::input(&file, format!("is damaged ({error})"), hint)
        })
    }

    /// Writes the record to a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(FILE), self)
    }

    /// Whether a step is done: by the same command, from the same inputs, with its output there.
    ///
    /// # Errors
    /// When the output changed since, or cannot be read.
    pub(super) fn is_done(&self, step: &Step, inputs: &BTreeMap<String, String>) -> Result<bool> {
        let Some(record) = self.steps.get(&step.name) else {
            return Ok(false);
        };
        if record.command != step.command || record.inputs != *inputs || !step.output.exists() {
            return Ok(false);
        }
        // Commands add tables to a store that was ingested.
        if step.command[0] == "ingest" || sha256_file(&step.output)? == record.sha256 {
            return Ok(true);
        }
        Err(Error::input(
            &step.output,
            format!("changed since `{}` wrote it", step.name),
            "restore it, or remove it to run the step again",
        ))
    }
}
