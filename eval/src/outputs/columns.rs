//! Columns of output files: the column of each role, named by `ROLE=COLUMN` or one of the usual names.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::columns::parse_columns;
use polyphony_io::records;
use serde_json::{Map, Value};

use super::json_value::number;
use crate::space::{PerSpace, Space};

/// The column names of output files, where they differ from the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub(super) given: Vec<(Role, String)>,
    /// The column of scores; an empty name means that scores are not read.
    pub score: Option<String>,
    /// The column of deviations in each space.
    pub spaces: PerSpace<Option<String>>,
}

/// The role of a column: what it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Model,
    PromptId,
    Prompt,
    Response,
    Sample,
    Score,
    Class,
    Seed,
}

impl Role {
    /// Every role.
    const ALL: [Self; 8] = [
        Self::Model,
        Self::PromptId,
        Self::Prompt,
        Self::Response,
        Self::Sample,
        Self::Score,
        Self::Class,
        Self::Seed,
    ];

    /// The name of the role in `--columns`.
    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::PromptId => "prompt_id",
            Self::Prompt => "prompt",
            Self::Response => "response",
            Self::Sample => "sample",
            Self::Score => "score",
            Self::Class => "class",
            Self::Seed => "seed",
        }
    }

    /// The usual names of the column, by priority.
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
            Self::Seed => &["seed"],
        }
    }
}

/// The name of the column of deviations in the tables of the paper's code.
const fn deviation_column(space: Space) -> &'static str {
    match space {
        Space::Semantic => "semantic_diversity",
        Space::Style => "style_diversity",
    }
}

/// The prefix of these columns in some tables of the paper's code.
const OTHER_TABLES: &str = "data_";
/// The column with a list of scores, next to a list of texts.
const SCORE_LIST: &str = "scores";

impl Columns {
    /// Parses `ROLE=COLUMN` pairs such as `response=story,model=system`.
    ///
    /// # Errors
    /// When a role is unknown, or a pair is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        let names = Role::ALL.map(Role::name);
        let pairs = parse_columns(text, &names)?;
        let columns = pairs.into_iter().filter_map(|(name, column)| {
            let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
            Some((role, column))
        });
        Ok(Self {
            given: columns.collect(),
            ..Self::default()
        })
    }

    /// Checks that a file has every explicitly named column. `names` are the columns of all its rows together.
    ///
    /// # Errors
    /// When a column is missing.
    pub(super) fn check(&self, names: &BTreeSet<String>, path: &Path) -> Result<()> {
        let explicit = self.given.iter().map(|(_, column)| column);
        let score = self.score.iter().filter(|column| !column.is_empty());
        let spaces = self.spaces.both().into_iter().flatten();
        let spaces = spaces.filter(|column| !names.contains(&format!("{OTHER_TABLES}{column}")));
        let mut named = explicit.chain(score).chain(spaces);
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

    /// The columns for human-written texts, which have no model, scores, classes or runs.
    pub(super) fn for_gold(&self) -> Self {
        const NOT_OF_PEOPLE: [Role; 4] = [Role::Model, Role::Score, Role::Class, Role::Seed];
        let is_shared = |(role, _): &&(Role, String)| !NOT_OF_PEOPLE.contains(role);
        Self {
            given: self.given.iter().filter(is_shared).cloned().collect(),
            score: Some(String::new()),
            spaces: PerSpace::default(),
        }
    }

    /// The explicitly named column of a role.
    pub(super) fn named(&self, role: Role) -> Option<&str> {
        let named = self.given.iter().find(|(named, _)| *named == role);
        named.map(|(_, column)| column.as_str())
    }

    /// Name and value of the column of a role in this row: the explicitly named column, or the first usual
    /// one with a value.
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

    /// The name of the row's column of scores, and whether its value is a number: the explicitly named
    /// column, or the first usual one with a number, or else with any value. A list of numbers is accepted if
    /// `list`, that is, if the row has a list of texts.
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
        let numeric = usual.clone().find(|name| numbers(name));
        let is_there = |name: &&&str| object.get(**name).is_some_and(|value| !value.is_null());
        match numeric {
            Some(name) => Some(((*name).to_owned(), true)),
            None => usual.find(is_there).map(|name| ((*name).to_owned(), false)),
        }
    }

    /// The value of the row's column of deviations in a space.
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
    /// Writes the format that [`Columns::parse`] reads.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (role, column)) in self.given.iter().enumerate() {
            let separator = if at > 0 { "," } else { "" };
            write!(formatter, "{separator}{}={column}", role.name())?;
        }
        Ok(())
    }
}
