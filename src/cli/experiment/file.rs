//! Experiment file (TOML): what all conditions share, the conditions, and the `small` variant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polyphony_io::{Error, Result};
use polyphony_trainer::method::Method;
use serde::Deserialize;
use toml::{Table, Value};

/// An experiment: conditions that differ in a few options, each trained with several random seeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExperimentFile {
    /// The base model of training and generation: a folder or a hub id.
    pub(super) model: String,
    /// A store that is there already. Without it `ingest` makes one.
    pub(super) store: Option<PathBuf>,
    /// The device of all commands that run models.
    pub(super) device: Option<String>,
    /// The random seeds: a training run and a file of outputs for each.
    #[serde(default = "default_seeds")]
    pub(super) seeds: Vec<u64>,
    /// The options in which conditions may differ, as `train.learning_rate`.
    #[serde(default)]
    pub(super) varies: BTreeSet<String>,
    /// Options of `ingest`, and its sources.
    pub(super) ingest: Option<Table>,
    /// Options of `pairs`.
    #[serde(default)]
    pub(super) pairs: Table,
    /// Options of `train`; tables named after methods have those of one method.
    #[serde(default)]
    pub(super) train: Table,
    /// Options of `generate`.
    #[serde(default)]
    pub(super) generate: Table,
    /// Options of `eval`.
    #[serde(default)]
    pub(super) eval: Table,
    /// Options of `train reward`: a reward model of the store's votes, which `eval` uses.
    pub(super) reward: Option<Table>,
    /// The conditions, in the order of the report.
    #[serde(rename = "condition")]
    pub(super) conditions: Vec<Condition>,
}

/// A condition: how a model is trained and sampled from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    /// The name of its model in the report.
    pub(super) name: String,
    /// The training method; none samples from the base model.
    pub(super) method: Option<Method>,
    /// The condition whose adapter training starts from; of the same random seed where it has it.
    pub(super) adapter: Option<String>,
    /// Its random seeds, where they are not those of the experiment.
    pub(super) seeds: Option<Vec<u64>>,
    /// Options of `pairs`, over the shared ones.
    #[serde(default)]
    pub(super) pairs: Table,
    /// Options of `train`, likewise.
    #[serde(default)]
    pub(super) train: Table,
    /// Options of `generate`, likewise.
    #[serde(default)]
    pub(super) generate: Table,
}

fn default_seeds() -> Vec<u64> {
    vec![42]
}

impl ExperimentFile {
    /// Parses the text of `file`. `small` puts the table `small` over all others.
    ///
    /// # Errors
    /// For a field that is unknown or has a wrong type, and for names and seeds that are empty or repeated.
    pub(super) fn parse(file: &Path, text: &str, small: bool) -> Result<Self> {
        let refuse = |error: &toml::de::Error, text: &str| {
            let line = error.span().map_or_else(String::new, |span| {
                format!("line {}: ", text[..span.start].matches('\n').count() + 1)
            });
            let message = error.message().lines().next().unwrap_or_default();
            let hint = "trainer/README.md lists the fields of an experiment";
            Error::input(file, format!("{line}{message}"), hint)
        };
        let mut root: Table = text.parse().map_err(|error| refuse(&error, text))?;
        match root.remove("small") {
            Some(Value::Table(over)) if small => merge(&mut root, over),
            None if small => {
                let hint = "add the table, or leave out --small";
                return Err(Error::input(file, "has no table `small`", hint));
            }
            _ => {}
        }
        // The merged text has other lines: without --small the file itself is parsed, for errors with lines.
        let experiment: Self = if text.contains("[small") {
            Value::Table(root)
                .try_into()
                .map_err(|error| refuse(&error, ""))?
        } else {
            toml::from_str(text).map_err(|error| refuse(&error, text))?
        };
        experiment.check(file)?;
        Ok(experiment)
    }

    /// The random seeds of a condition.
    pub(super) fn seeds_of<'a>(&'a self, condition: &'a Condition) -> &'a [u64] {
        condition.seeds.as_deref().unwrap_or(&self.seeds)
    }

    fn check(&self, file: &Path) -> Result<()> {
        let refuse = |message: String, hint: &str| Err(Error::input(file, message, hint));
        match (&self.store, &self.ingest) {
            (Some(_), Some(_)) => {
                return refuse(
                    "has both `store` and `ingest`".to_owned(),
                    "leave out one of them",
                );
            }
            (None, None) => {
                return refuse(
                    "has neither `store` nor `ingest`".to_owned(),
                    "name a store, or sources: `[ingest] sources = [\"dump/\"]`",
                );
            }
            _ => {}
        }
        if self.conditions.is_empty() {
            return refuse("has no condition".to_owned(), "add a `[[condition]]`");
        }
        for (position, condition) in self.conditions.iter().enumerate() {
            let Condition { name, .. } = condition;
            let is_valid = |letter: char| letter.is_alphanumeric() || "-_.+".contains(letter);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(is_valid) {
                return refuse(
                    format!("condition `{name}`: the name cannot be that of a file"),
                    "use letters, digits, `-`, `_`, `+` and `.`",
                );
            }
            let earlier = &self.conditions[..position];
            if earlier.iter().any(|other| other.name == *name) {
                return refuse(
                    format!("two conditions are named `{name}`"),
                    "give each its own name",
                );
            }
            let seeds = self.seeds_of(condition);
            let distinct: BTreeSet<u64> = seeds.iter().copied().collect();
            if seeds.is_empty() || distinct.len() < seeds.len() {
                return refuse(
                    format!("condition `{name}`: seeds {seeds:?} are empty or repeated"),
                    "list each random seed once",
                );
            }
            if condition.method == Some(Method::Reward) {
                return refuse(
                    format!("condition `{name}`: a reward model writes no stories"),
                    "describe it in the table `reward`",
                );
            }
            self.check_adapter(file, position)?;
        }
        Ok(())
    }

    /// Checks that the adapter of a condition is that of an earlier one, which leaves no circles.
    fn check_adapter(&self, file: &Path, position: usize) -> Result<()> {
        let Condition {
            name,
            method,
            adapter: Some(adapter),
            ..
        } = &self.conditions[position]
        else {
            return Ok(());
        };
        let refuse = |message: String, hint: &str| Err(Error::input(file, message, hint));
        let Some(start) = self.conditions[..position]
            .iter()
            .find(|other| other.name == *adapter)
        else {
            return refuse(
                format!("condition `{name}`: no condition `{adapter}` is above it to start from"),
                "name a condition that stands earlier in the file",
            );
        };
        if start.method.is_none() || method.is_none() {
            return refuse(
                format!(
                    "condition `{name}` cannot start from `{adapter}`: one of them has no method"
                ),
                "give both a method, or leave out `adapter`",
            );
        }
        let seeds = self.seeds_of(start);
        let lacks = |seed: &&u64| seeds.len() > 1 && !seeds.contains(seed);
        if let Some(seed) = self.seeds_of(&self.conditions[position]).iter().find(lacks) {
            return refuse(
                format!(
                    "condition `{name}`: seed {seed} has no adapter of `{adapter}`, whose seeds are {seeds:?}"
                ),
                "give the first the same seeds, or only one",
            );
        }
        Ok(())
    }
}

/// Puts `over` over `base`: tables are merged, other values replaced.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(lower)), Value::Table(upper)) => merge(lower, upper),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
