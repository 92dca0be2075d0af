//! Differences between conditions: every option in which they differ must be declared in `varies`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::Parser as _;
use polyphony_io::{Error, Result};
use polyphony_trainer::method::Method;
use serde_json::Value;
use toml::Table;

use super::file::{Condition, ExperimentFile};
use super::options::flags;
use super::plan::{merged, train_table};
use crate::cli::{Arguments, Command, terminal};

/// The value of an option where it is not set.
const DEFAULT: &str = "default";

/// The fields of a training configuration that the experiment sets for each run.
const EXPERIMENT_FIELDS: [&str; 6] = ["method", "model", "data", "out", "adapter", "seed"];

/// The options of a condition by name (`train.beta`), as text.
type OptionValues = BTreeMap<String, String>;

/// The options in which the conditions differ, with each condition's value.
///
/// Hyperparameters are compared with their defaults filled in: `orpo` trains 4 epochs and `dpo` 3. They are
/// compared among conditions with a preference method; SFT is where those start.
///
/// # Errors
/// When conditions differ in an option that `varies` does not list, `varies` lists an option in which none
/// differs, two conditions are the same, or hyperparameters are out of bounds.
pub(super) fn check(
    file: &Path,
    experiment: &ExperimentFile,
) -> Result<BTreeMap<String, Vec<String>>> {
    let all: Vec<OptionValues> = experiment
        .conditions
        .iter()
        .map(|condition| values(experiment, condition))
        .collect::<Result<_>>()?;
    let mut differing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let of = |position: usize| all[position].get(name).map_or("", String::as_str);
        let compared: Vec<usize> = (0..all.len())
            .filter(|position| is_compared(name, &experiment.conditions[*position]))
            .collect();
        if compared.windows(2).any(|pair| of(pair[0]) != of(pair[1])) {
            differing.insert(
                name.clone(),
                (0..all.len())
                    .map(|position| of(position).to_owned())
                    .collect(),
            );
        }
    }
    for (name, values) in &differing {
        if !experiment.varies.contains(name) {
            let conditions = experiment.conditions.iter().zip(values);
            let values: Vec<String> = conditions
                .filter(|(condition, _)| is_compared(name, condition))
                .map(|(condition, value)| {
                    let value = if value.is_empty() { "none" } else { value };
                    format!("{} {value}", condition.name)
                })
                .collect();
            let message = format!("conditions differ in {name} ({})", values.join(", "));
            let hint = format!("make them equal, or add \"{name}\" to `varies`");
            return Err(Error::input(file, message, hint));
        }
    }
    if let Some(name) = experiment
        .varies
        .iter()
        .find(|name| !differing.contains_key(*name))
    {
        let message = format!("`varies` lists {name}, in which no conditions differ");
        return Err(Error::input(
            file,
            message,
            "leave it out, or check its name",
        ));
    }
    for (position, values) in all.iter().enumerate() {
        if let Some(other) = all[..position].iter().position(|other| other == values) {
            let names = [other, position].map(|index| &experiment.conditions[index].name);
            let message = format!("conditions `{}` and `{}` are the same", names[0], names[1]);
            return Err(Error::input(file, message, "leave out one of them"));
        }
    }
    Ok(differing)
}

/// Whether an option of this name is compared between this condition and others.
fn is_compared(name: &str, condition: &Condition) -> bool {
    let has_pairs = condition.method.is_some_and(Method::has_pairs);
    has_pairs || name.starts_with("generate.")
}

/// The options of a condition.
fn values(experiment: &ExperimentFile, condition: &Condition) -> Result<OptionValues> {
    let mut values = OptionValues::new();
    let method = condition.method.map_or("none", |method| method.name());
    values.insert("method".to_owned(), method.to_owned());
    if let Some(adapter) = &condition.adapter {
        values.insert("adapter".to_owned(), adapter.clone());
    }
    let mut insert = |place: &str, table: &Table| {
        for (name, value) in table {
            values.insert(format!("{place}.{name}"), plain(value));
        }
    };
    insert(
        "generate",
        &filled(
            &experiment.conditions,
            &experiment.generate,
            condition,
            |other| &other.generate,
        ),
    );
    if condition.method.is_some() {
        insert(
            "pairs",
            &filled(
                &experiment.conditions,
                &experiment.pairs,
                condition,
                |other| &other.pairs,
            ),
        );
        for (name, value) in hyperparameters(experiment, condition)? {
            values.insert(format!("train.{name}"), value);
        }
    }
    Ok(values)
}

/// The options of a condition, with `default` for those that only other conditions set.
fn filled<'a>(
    conditions: &'a [Condition],
    shared: &Table,
    condition: &'a Condition,
    own: impl Fn(&'a Condition) -> &'a Table,
) -> Table {
    let mut table = merged(shared, own(condition));
    for name in conditions.iter().flat_map(|other| own(other).keys()) {
        let default = || toml::Value::String(DEFAULT.to_owned());
        table.entry(name.clone()).or_insert_with(default);
    }
    table
}

/// The hyperparameters of a condition's training, completed by the defaults of its method.
fn hyperparameters(
    experiment: &ExperimentFile,
    condition: &Condition,
) -> Result<BTreeMap<String, String>> {
    let Some(method) = condition.method else {
        return Ok(BTreeMap::new());
    };
    let place = format!("condition {}: train", condition.name);
    let table = train_table(experiment, condition);
    let mut words = [
        "polyphony",
        "train",
        method.name(),
        "--model=-",
        "--data=-",
        "--out=-",
    ]
    .map(str::to_owned)
    .to_vec();
    words.extend(flags("train", &place, &table, &[])?);
    let refuse = |message: &str| {
        let hint = "`polyphony train METHOD --help` has the bounds";
        Error::config(&place, message, hint)
    };
    let arguments = Arguments::try_parse_from(words)
        .map_err(|error| refuse(&terminal::one_line(&error.to_string())))?;
    let Command::Train(arguments) = arguments.command else {
        return Err(Error::Internal("the command is not train".to_owned()));
    };
    let config = arguments.config().map_err(|error| match error {
        // The option, its value and its bound; the hint is for the command line.
        Error::Config {
            option, message, ..
        } => refuse(&format!("{option} {message}")),
        other => other,
    })?;
    let Value::Object(fields) = serde_json::to_value(&config)? else {
        return Err(Error::Internal("a configuration is no object".to_owned()));
    };
    let mut values: BTreeMap<String, String> = fields
        .into_iter()
        .filter(|(name, value)| !value.is_null() && !EXPERIMENT_FIELDS.contains(&name.as_str()))
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    // An adapter that training starts from has its shape from the condition that made it.
    let all = &experiment.conditions;
    let start = all
        .iter()
        .find(|other| Some(&other.name) == condition.adapter.as_ref());
    if let Some(start) = start {
        let of_start = hyperparameters(experiment, start)?;
        values.extend(of_start.into_iter().filter(|(name, _)| is_shape(name)));
    }
    Ok(values)
}

/// Whether an option is part of an adapter's shape.
fn is_shape(name: &str) -> bool {
    ["lora_r", "lora_alpha", "use_rslora", "target_modules"].contains(&name)
}

/// A value without quotes.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
