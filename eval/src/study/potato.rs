//! Potato (annotation tool): the configuration file for a sheet, and the reader of its folder of answers.

use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format;
use serde_json::{Map, Value, json};

/// The file with the answers of an annotator, in a folder with the annotator's name.
const STATE: &str = "user_state.json";
/// The file with the accounts of all annotators.
const ACCOUNTS: &str = "user_config.json";

/// The label of an undecided answer.
const UNDECIDED: &str = "Hard to decide";

/// The Potato configuration: both questions of the paper's study with the answer options of its participants, for
/// items with `texts` texts per side.
pub(super) fn settings(texts: usize) -> String {
    let each: Vec<String> = ["A", "B"]
        .iter()
        .flat_map(|side| (1..=texts).map(move |number| format!("{side}-{number}")))
        .chain([UNDECIDED.to_owned()])
        .collect();
    let sides = ["A", "B", UNDECIDED].map(str::to_owned);
    let question = |name: &str, text: &str, labels: &[String]| {
        json!({
            "annotation_type": "radio", "name": name, "description": text, "labels": labels,
            "label_requirement": { "required": true }, "sequential_key_binding": true,
        })
    };
    let settings = json!({
        "port": 8000,
        "annotation_task_name": "Which stories?",
        "task_dir": ".",
        "output_annotation_dir": "answers/",
        "output_annotation_format": "jsonl",
        // 0 exports after every answer: by default an answer within a minute of the last export is not exported.
        "auto_export_interval": 0,
        "data_files": ["sheet.jsonl"],
        "item_properties": { "id_key": "id", "text_key": "text" },
        "annotation_schemes": [
            question("quality", "Which story is the best answer to the prompt?", &each),
            question("diversity", "Which side's stories differ more from each other?", &sides),
        ],
    });
    // JSON is valid YAML.
    format!("{settings:#}\n")
}

/// The files in which Potato stores the answers of each annotator; empty if `folder` is not a Potato folder.
///
/// # Errors
/// When the folder cannot be read, or also contains other tables.
pub(super) fn states(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let (mut states, mut other_tables) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.join(STATE).is_file() {
            states.push(path.join(STATE));
        } else if path.is_file()
            && !path.ends_with(ACCOUNTS)
            && format::format_from_name(&path).is_some()
        {
            other_tables.push(path);
        }
    }
    states.sort();
    match other_tables.iter().min() {
        Some(table) if !states.is_empty() => {
            let message = "lies in a folder of Potato's answers, and would not be read with them";
            let hint = "put it elsewhere, and name both";
            Err(Error::input(table, message, hint))
        }
        _ => Ok(states),
    }
}

/// The answers of an annotator in the format of Potato's export: one row per item, with `instance_id`,
/// `user_id` and `labels` by question.
pub(super) fn rows(state: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = fs::read(state).map_err(Error::io("read", state))?;
    let invalid = || {
        let hint = "name the folder of Potato's answers, or what it exported";
        Error::input(state, "is none of Potato's states of a person", hint)
    };
    let document: Value = serde_json::from_slice(&text).map_err(|_| invalid())?;
    let items = document["instance_id_to_label_to_value"].as_object();
    let rows = items.ok_or_else(invalid)?.iter().map(|(id, answers)| {
        let mut labels = Map::new();
        for label in answers.as_array().ok_or_else(invalid)? {
            let text = |name: &str| label[0][name].as_str().map(str::to_owned);
            let (Some(question), Some(name)) = (text("schema"), text("name")) else {
                return Err(invalid());
            };
            labels.entry(question).or_insert_with(|| json!({}))[name] = label[1].clone();
        }
        let row = json!({ "instance_id": id, "user_id": document["user_id"], "labels": labels });
        row.as_object().cloned().ok_or_else(invalid)
    });
    rows.collect()
}
