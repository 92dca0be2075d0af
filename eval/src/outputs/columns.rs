//! Which column of a row holds what? The one that was named, or the first usual one.

use std::collections::BTreeSet;
use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::records;
use serde_json::{Map, Value};

use super::value::number;

/// Which column holds what, where the usual names do not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub(super) given: Vec<(usize, String)>,
    /// The column of scores; empty for none.
    pub score: Option<String>,
    /// The columns of given diversity: semantic and style.
    pub spaces: [Option<String>; 2],
}

/// What a column can be, and the names it usually has.
const ROLES: [(&str, &[&str]); 7] = [
    ("model", &["model", "model_name", "generator", "model_id"]),
    (
        "prompt_id",
        &["prompt_id", "question_id", "instruction_id", "doc_id", "id"],
    ),
    ("prompt", &["prompt", "instruction", "question", "input"]),
    (
        "response",
        &[
            "response",
            "output",
            "completion",
            "generation",
            "generated_text",
            "text",
            "story",
        ],
    ),
    ("sample", &["sample", "iteration", "sample_id"]),
    ("score", &["score", "reward", "reddit_reward", "rating"]),
    ("class", &["class", "partition", "cluster"]),
];
pub(super) const MODEL: usize = 0;
pub(super) const PROMPT_ID: usize = 1;
pub(super) const PROMPT: usize = 2;
pub(super) const RESPONSE: usize = 3;
pub(super) const SAMPLE: usize = 4;
pub(super) const SCORE: usize = 5;
pub(super) const CLASS: usize = 6;
/// The columns of given diversity, as the paper's code names them.
const SPACES: [&str; 2] = ["semantic_diversity", "style_diversity"];
/// What stands before them in its other tables.
const OTHER_TABLES: &str = "data_";
/// A list of scores beside a list of texts.
const SCORE_LIST: &str = "scores";

impl Columns {
    /// Reads `response=story,model=who`.
    ///
    /// # Errors
    /// When a role is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let known = pair.split_once('=').and_then(|(role, column)| {
                let role = ROLES.iter().position(|(name, _)| *name == role.trim())?;
                Some((role, column.trim().to_owned()))
            });
            let roles: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
            columns.given.push(known.ok_or_else(|| Error::Unknown {
                what: "column role",
                given: pair.to_owned(),
                known: format!("ROLE=COLUMN with a role of {}", roles.join(", ")),
            })?);
        }
        Ok(columns)
    }

    /// Refuses a file whose rows, with these `names` together, lack a column that was named.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn check(&self, names: &BTreeSet<String>, path: &Path) -> Result<()> {
        let given = self.given.iter().map(|(_, column)| column);
        let score = self.score.iter().filter(|column| !column.is_empty());
        let spaces = self.spaces.iter().flatten();
        let spaces = spaces.filter(|column| !names.contains(&format!("{OTHER_TABLES}{column}")));
        let mut asked = given.chain(score).chain(spaces);
        match asked.find(|column| !names.contains(*column)) {
            None => Ok(()),
            Some(missing) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Err(Error::Unknown {
                    what: "column",
                    given: missing.clone(),
                    known: format!("{} in {}", names.join(", "), path.display()),
                })
            }
        }
    }

    /// The columns of people's texts: nobody asks who they are of, nor for scores or classes of them.
    pub(super) fn of_gold(&self) -> Self {
        let asked = |(role, _): &&(usize, String)| ![MODEL, SCORE, CLASS].contains(role);
        Self {
            given: self.given.iter().filter(asked).cloned().collect(),
            score: Some(String::new()),
            spaces: [None, None],
        }
    }

    /// The column that was named for a role.
    pub(super) fn named(&self, role: usize) -> Option<&str> {
        let given = self.given.iter().find(|(given, _)| *given == role);
        given.map(|(_, column)| column.as_str())
    }

    /// The column of a role in this row: the one that was named, or the first usual one.
    pub(super) fn find<'a>(
        &'a self,
        role: usize,
        object: &'a Map<String, Value>,
    ) -> Option<(&'a str, &'a Value)> {
        if let Some(column) = self.named(role) {
            return Some((column, object.get(column)?));
        }
        let usual = ROLES[role].1.iter();
        usual
            .filter_map(|name| Some((*name, object.get(*name)?)))
            .find(|(_, value)| !value.is_null() && records::non_finite(value).is_none())
    }

    /// The column of scores that this row has a number in, and where it has none, the first one that
    /// it says anything in. A list of numbers counts where the row is a `list` of texts.
    pub(super) fn score(&self, object: &Map<String, Value>, list: bool) -> Option<(String, bool)> {
        let numbers = |name: &str| match object.get(name) {
            Some(Value::Array(items)) => list && items.iter().any(|item| number(item).is_some()),
            Some(value) => number(value).is_some(),
            None => false,
        };
        if let Some(named) = self.score.as_deref().or_else(|| self.named(SCORE)) {
            let known = !named.is_empty();
            return known.then(|| (named.to_owned(), numbers(named)));
        }
        let lists = list.then_some(&SCORE_LIST).into_iter();
        let mut usual = lists.chain(ROLES[SCORE].1);
        let found = usual.clone().find(|name| numbers(name));
        let said = |name: &&&str| object.get(**name).is_some_and(|value| !value.is_null());
        match found {
            Some(name) => Some(((*name).to_owned(), true)),
            None => usual.find(said).map(|name| ((*name).to_owned(), false)),
        }
    }

    /// What the row gives as diversity in a space.
    pub(super) fn given<'a>(
        &self,
        space: usize,
        object: &'a Map<String, Value>,
    ) -> Option<&'a Value> {
        let name = self.spaces[space].as_deref().unwrap_or(SPACES[space]);
        let plain = object.get(name);
        plain.or_else(|| object.get(&format!("{OTHER_TABLES}{name}")))
    }
}
