//! Layout of lists: a row per prompt with a list of texts (`generations`, `outputs`, ...).

use serde_json::{Map, Value};

use super::Found;
use crate::outputs::json_value::text_list;

/// The usual names of the list, by priority.
const LISTS: [&str; 4] = ["generations", "responses", "outputs", "completions"];

/// The texts of the first list; `None` if the row has no such list.
pub(super) fn parse(row: &Map<String, Value>) -> Option<Found> {
    let mut lists = LISTS.iter().filter_map(|name| row.get(*name));
    let list = lists.find(|list| list.is_array())?;
    Some(Found::list(text_list(list)))
}
