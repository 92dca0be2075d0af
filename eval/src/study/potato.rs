//! Potato, the annotation tool: its configuration for a sheet, and its folder of answers.

use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format;
use serde_json::{Map, Value, json};

/// The file of a person's answers, in a folder of the person's name.
const STATE: &str = "user_state.json";
/// The file of all people's accounts.
const ACCOUNTS: &str = "user_config.json";

/// How an answer says that it is none.
const UNDECIDED: &str = "Hard to decide";

/// Both questions of the paper's study, with the answers that its participants had, about items with so many
/// texts a side.
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
        // Else its export lacks what was answered within a minute of the one before.
        "auto_export_interval": 0,
        "data_files": ["sheet.jsonl"],
        "item_properties": { "id_key": "id", "text_key": "text" },
        "annotation_schemes": [
            question("quality", "Which story is the best answer to the prompt?", &each),
            question("diversity", "Which side's stories differ more from each other?", &sides),
        ],
    });
    // JSON is YAML.
    format!("{settings:#}\n")
}

/// The files in which Potato keeps what each person answered; none where this is no folder of its
/// answers.
///
/// # Errors
/// When the folder cannot be read, or holds other answers, too.
pub(super) fn states(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let (mut states, mut beside) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.join(STATE).is_file() {
            states.push(path.join(STATE));
        } else if path.is_file()
            && !path.ends_with(ACCOUNTS)
            && format::format_from_name(&path).is_some()
        {
            beside.push(path);
        }
    }
    states.sort();
    match beside.iter().min() {
        Some(table) if !states.is_empty() => {
            let message = "lies in a folder of Potato's answers, and would not be read with them";
            let hint = "put it elsewhere, and name both";
            Err(Error::input(table, message, hint))
        }
        _ => Ok(states),
    }
}

/// A person's answers as Potato exports them: a row an item, with `instance_id`, `user_id` and `labels`
/// by question.
pub(super) fn rows(state: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = fs::read(state).map_err(Error::io("read", state))?;
    let refused = || {
        let hint = "name the folder of Potato's answers, or what it exported";
        Error::input(state, "is none of Potato's states of a person", hint)
    };
    let whole: Value = serde_json::from_slice(&text).map_err(|_| refused())?;
    let items = whole["instance_id_to_label_to_value"].as_object();
    let rows = items.ok_or_else(refused)?.iter().map(|(id, given)| {
        let mut labels = Map::new();
        for label in given.as_array().ok_or_else(refused)? {
            let text = |name: &str| label[0][name].as_str().map(str::to_owned);
            let (Some(question), Some(name)) = (text("schema"), text("name")) else {
                return Err(refused());
            };
            labels.entry(question).or_insert_with(|| json!({}))[name] = label[1].clone();
        }
        let row = json!({ "instance_id": id, "user_id": whole["user_id"], "labels": labels });
        row.as_object().cloned().ok_or_else(refused)
    });
    rows.collect()
}
