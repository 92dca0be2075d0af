//! Arguments of a report: the options it was made with, complete enough to make it again, and as a command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::config::EvalConfig;

/// The arguments that name a model, which may be a folder.
pub(crate) const MODELS: [&str; 3] = ["semantic", "style", "reward"];

/// The options of the command line by flag, with paths relative to the report's folder, so that a report can be
/// moved together with its inputs. `outputs` is a list of `model` (null: as the file says) and `path`.
pub(super) fn arguments(config: &EvalConfig) -> BTreeMap<String, Value> {
    let mut arguments = config.arguments.clone();
    let outputs = config.outputs.iter();
    let outputs = outputs.map(|output| {
        let path = relative(&config.out, &output.path);
        json!({ "model": output.model, "path": path })
    });
    arguments.insert("outputs".to_owned(), outputs.collect());
    let gold = config.gold.as_deref();
    arguments.insert(
        "gold".to_owned(),
        json!(gold.map(|gold| relative(&config.out, gold))),
    );
    for name in MODELS {
        if let Some(Value::String(model)) = arguments.get_mut(name)
            && Path::new(model.as_str()).exists()
        {
            *model = relative(&config.out, Path::new(model.as_str()));
        }
    }
    arguments
}

/// The path from a folder to a file or folder, which should exist; `/` separates its components.
pub(super) fn relative(from: &Path, to: &Path) -> String {
    let full = |path: &Path| {
        let canonical = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        canonical.unwrap_or_else(|_| path.to_path_buf())
    };
    let (from, to) = (full(from), full(to));
    let pairs = from.components().zip(to.components());
    let common = pairs.take_while(|(a, b)| a == b).count();
    if common == 0 {
        return to.to_string_lossy().into_owned();
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    let parts = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    let text = parts.collect::<Vec<_>>().join("/");
    if text.is_empty() {
        ".".to_owned()
    } else {
        text
    }
}

/// The command line of [`arguments`], to be run in the report's folder.
pub(super) fn command_line(arguments: &BTreeMap<String, Value>) -> String {
    let mut words = vec!["polyphony".to_owned(), "eval".to_owned()];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    for output in arguments
        .get("outputs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let path = text(&output["path"]);
        let model = output["model"].as_str();
        words.push(model.map_or_else(|| path.clone(), |model| format!("{model}={path}")));
    }
    for (name, value) in arguments.iter().filter(|(name, _)| *name != "outputs") {
        let flag = format!("--{}", name.replace('_', "-"));
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::String(empty) if empty.is_empty() => {}
            Value::Bool(true) => words.push(flag),
            Value::Array(items) => {
                words.extend(items.iter().flat_map(|item| [flag.clone(), text(item)]));
            }
            value => words.extend([flag, text(value)]),
        }
    }
    words.extend(["--out", "."].map(str::to_owned));
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word in single quotes where a shell would split or change it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_report() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/report")).unwrap();
        fs::create_dir_all(at("b c")).unwrap();
        assert_eq!(relative(&at("a/report"), &at("b c")), "../../b c");
        assert_eq!(relative(&at("a/report"), &at("a/report")), ".");
        assert_eq!(relative(&at("a"), &at("a/report")), "report");
    }

    #[test]
    fn command_line_is_quoted() {
        let outputs =
            json!([{"model": null, "path": "../a.jsonl"}, {"model": "m", "path": "it's.csv"}]);
        let arguments = [
            ("outputs", outputs),
            ("gold", Value::Null),
            ("k", json!(4)),
            ("reference_compat", json!(true)),
            ("columns", json!("")),
            ("seed", json!(42)),
        ];
        let arguments = arguments.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(
            command_line(&BTreeMap::from(arguments)),
            "polyphony eval ../a.jsonl 'm=it'\\''s.csv' --k 4 --reference-compat --seed 42 --out ."
        );
    }
}
