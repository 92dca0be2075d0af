//! Layout of `NoveltyBench`: lists of classes, utilities and scores next to a list of generations.

use serde_json::{Map, Value};

use crate::outputs::json_value::number;

/// The field with the equivalence class of each generation.
const CLASSES: &str = "partition";
/// The field with the utility of each generation, 1 to 10; 0 if an earlier one has the same class.
const UTILITIES: &str = "generation_scores";
/// The field with the score of each class.
const CLASS_SCORES: &str = "partition_scores";

/// The list of classes; `None` if the row has no such list.
pub(super) fn classes(row: &Map<String, Value>) -> Option<&Value> {
    row.get(CLASSES).filter(|classes| classes.is_array())
}

/// The list of utilities; `None` if the row has no such field.
pub(super) fn utilities(row: &Map<String, Value>) -> Option<&Value> {
    row.get(UTILITIES)
}

/// The score of a class, which applies to all its generations.
pub(super) fn class_score(row: &Map<String, Value>, class: Option<i64>) -> Option<&Value> {
    let scores = row.get(CLASS_SCORES)?.as_array()?;
    scores.get(usize::try_from(class?).ok()?)
}

/// Whether a file duplicates another file of its folder: the files of earlier stages and the summary lie next to
/// the file of scores.
pub(in crate::outputs) fn is_repeated(name: &str, has: impl Fn(&str) -> bool) -> bool {
    match name {
        "generations.jsonl" => has("partitions.jsonl") || has("scores.jsonl"),
        "partitions.jsonl" | "summary.json" => has("scores.jsonl"),
        _ => false,
    }
}

/// The class as an integer; `None` for a value that is not a number.
pub(super) fn class(value: Option<&Value>) -> Option<i64> {
    value.and_then(number).map(|class| class as i64)
}
