//! Measure: a function of the texts that answer one prompt, with what SQL, reports and help say of it.

use serde::Serialize;

use crate::space::Space;

/// The part of a report that a measure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Rewards of the texts.
    Reward,
    /// Diversity by embeddings.
    Vectors,
    /// Diversity by words.
    Words,
    /// Length of the texts.
    Length,
}

/// Which values of a measure are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Higher values.
    Higher,
    /// Lower values.
    Lower,
    /// Neither: the measure describes, it does not judge.
    Neither,
}

impl Direction {
    /// The word of `report.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "neither",
        }
    }
}

/// A measure's function with its input. All give `None` where the measure is undefined; the last
/// argument holds the parameters, in the order of [`Measure::parameters`].
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::type_complexity,
    reason = "a function type reads best where it stands"
)]
pub enum Function {
    /// Of the texts.
    Texts(fn(&[&str], &[f64]) -> Option<f64>),
    /// Of the cosine similarities of the texts' embeddings: a row-major n x n matrix, and n.
    Cosines(fn(&[f64], usize, &[f64]) -> Option<f64>),
    /// Of the equivalence class of each text.
    Classes(fn(&[i64], &[f64]) -> Option<f64>),
    /// Of the equivalence class and the utility (1 to 10) of each text.
    ClassesAndUtilities(fn(&[i64], &[f64], &[f64]) -> Option<f64>),
    /// Of the reward of each text.
    Rewards(fn(&[f64], &[f64]) -> Option<f64>),
}

impl Function {
    /// The SQL arguments and their meaning.
    pub(super) const fn arguments(self) -> &'static [(&'static str, &'static str)] {
        const CLASS: (&str, &str) = ("class", "the equivalence class of each row, an integer");
        match self {
            Self::Texts(_) => &[("text", "the texts of a group")],
            Self::Cosines(_) => &[("embedding", "the vectors of a group, all of one length")],
            Self::Classes(_) => &[CLASS],
            Self::ClassesAndUtilities(_) => &[
                CLASS,
                ("utility", "what each row is worth to a reader, 1 to 10"),
            ],
            Self::Rewards(_) => &[("reward", "the reward of each row")],
        }
    }

    /// The input in words: `texts`, `embeddings` ..
    pub const fn input(self) -> &'static str {
        match self {
            Self::Texts(_) => "texts",
            Self::Cosines(_) => "embeddings",
            Self::Classes(_) => "classes",
            Self::ClassesAndUtilities(_) => "classes, utilities",
            Self::Rewards(_) => "rewards",
        }
    }
}

/// A parameter of a measure: an optional literal argument of the SQL aggregate.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its default.
    pub default: f64,
    /// The values that it may have.
    pub range: ParamRange,
}

/// The values that a parameter may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamRange {
    /// The length of an n-gram: an integer from 1 to 64.
    NgramLength,
    /// A finite number > 0.
    Positive,
    /// A finite number > 1.
    AboveOne,
    /// A number >= 0, infinity too.
    NotNegative,
    /// A number >= 0 and < 1.
    BelowOne,
}

impl ParamRange {
    /// The bound that a value breaks, in words.
    pub(super) fn violated_by(self, value: f64) -> Option<&'static str> {
        let (holds, bound) = match self {
            Self::NgramLength => (
                value.fract() == 0.0 && (1.0..=64.0).contains(&value),
                "a whole number from 1 to 64",
            ),
            Self::Positive => (value > 0.0 && value.is_finite(), "a number above 0"),
            Self::AboveOne => (value > 1.0 && value.is_finite(), "a number above 1"),
            Self::NotNegative => (value >= 0.0, "a number from 0 on"),
            Self::BelowOne => ((0.0..1.0).contains(&value), "a number from 0 on, below 1"),
        };
        (!holds).then_some(bound)
    }
}

/// The parameter `n`: the length of n-grams.
pub(super) const fn ngram_length(default: f64) -> Parameter {
    Parameter {
        name: "n",
        default,
        range: ParamRange::NgramLength,
    }
}

/// A measure of a model's texts to one prompt.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// The name of the SQL aggregate.
    pub name: &'static str,
    /// The function, with its input.
    pub function: Function,
    /// The parameters of the SQL aggregate.
    pub parameters: &'static [Parameter],
    /// The part of the report that it belongs to.
    pub group: Group,
    /// Which values are better.
    pub direction: Direction,
    /// Its definition in a sentence.
    pub description: &'static str,
    /// Its columns in a report; none for a measure that only SQL has.
    pub columns: &'static [Column],
}

impl Measure {
    /// Whether it is a mean over texts of a value that each text has. All others are measures of a set,
    /// and compare only between sets of the same size.
    pub(crate) const fn is_mean_over_texts(&self) -> bool {
        matches!(self.group, Group::Length) || matches!(self.function, Function::Rewards(_))
    }
}

/// A column of a report: a measure with values of its parameters, in one embedding space.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in `report.json` and `values.parquet`.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Where it differs from the measure's: its definition.
    pub description: Option<&'static str>,
    /// The space whose embeddings are measured, for measures of embeddings.
    pub space: Option<Space>,
    /// The first parameters; the others have their defaults.
    pub parameters: &'static [f64],
    /// Whether it is shown with `--reference-compat` only.
    pub reference: bool,
}

impl Column {
    /// A column of a measure as it is.
    pub(super) const fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            description: None,
            space: None,
            parameters: &[],
            reference: false,
        }
    }

    /// What published code gives: shown with `--reference-compat`, and left out of corrections for
    /// multiple tests.
    pub(super) const fn reference(name: &'static str, title: &'static str) -> Self {
        Self {
            reference: true,
            ..Self::new(name, title)
        }
    }

    /// A column of a measure of embeddings.
    pub(super) const fn of_space(
        space: Space,
        name: &'static str,
        title: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            description: Some(description),
            space: Some(space),
            ..Self::new(name, title)
        }
    }

    /// A column of a measure with parameters.
    pub(super) const fn with_parameters(
        name: &'static str,
        title: &'static str,
        parameters: &'static [f64],
        description: &'static str,
    ) -> Self {
        Self {
            description: Some(description),
            parameters,
            ..Self::new(name, title)
        }
    }
}
