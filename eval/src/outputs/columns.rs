//! Columns of output files: the role of each, by `ROLE=COLUMN` or by its usual names.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::columns::parse_columns;
use polyphony_io::records;
use serde_json::{Map, Value};

use super::json_value::number;
use crate::space::{PerSpace, Space};

/// The columns of output files, where they have other than the usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub(super) given: Vec<(Role, String)>,
    /// The column of scores; empty for none.
    pub score: Option<String>,
    /// The columns of deviations, by space.
    pub spaces: PerSpace<Option<String>>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Model,
    PromptId,
    Prompt,
    Response,
    Sample,
    Score,
    Class,
}

impl Role {
    /// All roles.
    const ALL: [Self; 7] = [
        Self::Model,
        Self::PromptId,
        Self::Prompt,
        Self::Response,
        Self::Sample,
        Self::Score,
        Self::Class,
    ];

    /// The name in `--columns`.
    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::PromptId => "prompt_id",
            Self::Prompt => "prompt",
            Self::Response => "response",
            Self::Sample => "sample",
            Self::Score => "score",
            Self::Class => "class",
        }
    }

    /// The usual names of such a column, the most usual first.
    const fn usual_names(self) -> &'static [&'static str] {
        match self {
            Self::Model => &["model", "model_name", "generator", "model_id"],
            Self::PromptId => &["prompt_id", "question_id", "instruction_id", "doc_id", "id"],
            Self::Prompt => &["prompt", "instruction", "question", "input"],
            Self::Response => &[
                "response",
                "output",
                "completion",
                "generation",
                "generated_text",
                "text",
                "story",
            ],
            Self::Sample => &["sample", "iteration", "sample_id"],
            Self::Score => &["score", "reward", "reddit_reward", "rating"],
            Self::Class => &["class", "partition", "cluster"],
        }
    }
}

/// The column of deviations, as the paper's code names it.
const fn deviation_column(space: Space) -> &'static str {
    match space {
        Space::Semantic => "semantic_diversity",
        Space::Style => "style_diversity",
    }
}

/// The prefix of these columns in its other tables.
const OTHER_TABLES: &str = "data_";
/// A list of scores next to a list of texts.
const SCORE_LIST: &str = "scores";

impl Columns {
    /// Parses `response=story,model=who`.
    ///
    /// # Errors
    /// When a role is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let names = Role::ALL.map(Role::name);
        let given = parse_columns(text, &names)?;
        let given = given.into_iter().filter_map(|(name, column)| {
            let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
            Some((role, column))
        });
        Ok(Self {
            given: given.collect(),
            ..Self::default()
        })
    }

    /// Refuses a file whose rows, with these `names` together, lack a column that was named.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn check(&self, names: &BTreeSet<String>, path: &Path) -> Result<()> {
        let given = self.given.iter().map(|(_, column)| column);
        let score = self.score.iter().filter(|column| !column.is_empty());
        let spaces = self.spaces.both().into_iter().flatten();
        let spaces = spaces.filter(|column| !names.contains(&format!("{OTHER_TABLES}{column}")));
        let mut named = given.chain(score).chain(spaces);
        match named.find(|column| !names.contains(*column)) {
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

    /// The columns of texts by people, which have no model, scores or classes.
    pub(super) fn for_gold(&self) -> Self {
        let is_kept =
            |(role, _): &&(Role, String)| ![Role::Model, Role::Score, Role::Class].contains(role);
        Self {
            given: self.given.iter().filter(is_kept).cloned().collect(),
            score: Some(String::new()),
            spaces: PerSpace::default(),
        }
    }

    /// The column that was named for a role.
    pub(super) fn named(&self, role: Role) -> Option<&str> {
        let given = self.given.iter().find(|(given, _)| *given == role);
        given.map(|(_, column)| column.as_str())
    }

    /// The column of a role in this row: the one that was named, or the first of the usual ones.
    pub(super) fn find<'a>(
        &'a self,
        role: Role,
        object: &'a Map<String, Value>,
    ) -> Option<(&'a str, &'a Value)> {
        if let Some(column) = self.named(role) {
            return Some((column, object.get(column)?));
        }
        let usual = role.usual_names().iter();
        usual
            .filter_map(|name| Some((*name, object.get(*name)?)))
            .find(|(_, value)| !value.is_null() && records::non_finite(value).is_none())
    }

    /// The column of scores that this row has a number in, or else the first one with any value, and whether
    /// it is a number. A list of numbers counts where the row is a `list` of texts.
    pub(super) fn score(&self, object: &Map<String, Value>, list: bool) -> Option<(String, bool)> {
        let numbers = |name: &str| match object.get(name) {
            Some(Value::Array(items)) => list && items.iter().any(|item| number(item).is_some()),
            Some(value) => number(value).is_some(),
            None => false,
        };
        if let Some(named) = self.score.as_deref().or_else(|| self.named(Role::Score)) {
            let is_wanted = !named.is_empty();
            return is_wanted.then(|| (named.to_owned(), numbers(named)));
        }
        let lists = list.then_some(&SCORE_LIST).into_iter();
        let mut usual = lists.chain(Role::Score.usual_names());
        let found = usual.clone().find(|name| numbers(name));
        let is_there = |name: &&&str| object.get(**name).is_some_and(|value| !value.is_null());
        match found {
            Some(name) => Some(((*name).to_owned(), true)),
            None => usual.find(is_there).map(|name| ((*name).to_owned(), false)),
        }
    }

    /// The deviation that the row gives in a space.
    pub(super) fn given<'a>(
        &self,
        space: Space,
        object: &'a Map<String, Value>,
    ) -> Option<&'a Value> {
        let name = self.spaces.get(space).as_deref();
        let name = name.unwrap_or(deviation_column(space));
        let plain = object.get(name);
        plain.or_else(|| object.get(&format!("{OTHER_TABLES}{name}")))
    }
}

impl fmt::Display for Columns {
    /// As [`Columns::parse`] reads them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (role, column)) in self.given.iter().enumerate() {
            let separator = if at > 0 { "," } else { "" };
            write!(formatter, "{separator}{}={column}", role.name())?;
        }
        Ok(())
    }
}
