//! Human studies: a blinded sheet of two models' texts, and the statistics of its answers.

pub mod answers;
mod potato;
pub mod sheet;
pub mod statistics;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The key of a sheet: the model on each side of each item. Annotators must not see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name of the format: `polyphony-study`.
    pub format: String,
    /// The names of the two models.
    pub models: [String; 2],
    /// The random seed.
    pub seed: u64,
    /// The SHA-256 of each input file, by file name.
    pub inputs: BTreeMap<String, String>,
    /// The items of the sheet, by item id.
    pub items: BTreeMap<String, Item>,
}

/// An item of a sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The id of the prompt.
    pub prompt_id: String,
    /// The index of the model on side A: 0 or 1.
    pub a: usize,
}
