//! How does Potato ask? Its settings for a sheet.

use serde_json::json;

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
