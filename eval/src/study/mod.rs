//! What do people prefer? A blinded sheet of two models' texts, and what its answers say.

pub mod answers;
mod potato;
pub mod sheet;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which model stands on which side of each item. It stays with those who ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `polyphony-study`.
    pub format: String,
    /// Both models.
    pub models: [String; 2],
    /// Where the drawing began.
    pub seed: u64,
    /// The files that the texts came from, by hash.
    pub inputs: BTreeMap<String, String>,
    /// The items of the sheet.
    pub items: BTreeMap<String, Item>,
}

/// An item of a sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The prompt.
    pub prompt_id: String,
    /// Which of the models is side A: 0 or 1.
    pub a: usize,
}
