//! Measure: a function of one model's texts to one prompt, with its metadata for SQL, reports and help.

use serde::Serialize;

use crate::space::Space;

/// The part of a report that a measure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Rewards, and measures that use them.
    Reward,
    /// Diversity of the embeddings.
    Vectors,
    /// Lexical diversity, and diversity of equivalence classes.
    Words,
    /// The length of the texts.
    Length,
}

/// Which values of a measure are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Higher values are better.
    Higher,
    /// Lower values are better.
    Lower,
    /// Neither: the measure is descriptive.
    Neither,
}

impl Direction {
    /// The name in `report.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "neither",
        }
    }
}

/// How a measure depends on the number of texts of a set, and so which sets of different size compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetSize {
    /// A mean over texts: the same expected value for any number of texts, from one on.
    MeanOverTexts,
    /// A mean over pairs of texts: the same expected value for any number of texts, from two on (a U-statistic
    /// of order two; Hoeffding 1948).
    MeanOverPairs,
    /// A function of the whole set, whose expected value changes with the number of texts: only sets of the same
    /// size compare.
    OfSet,
}

impl SetSize {
    /// Whether the measure of `n` texts is defined in a report on sets of `k` texts. A function of the whole set
    /// needs all `k`, and at least two.
    pub const fn is_defined(self, n: usize, k: usize) -> bool {
        match self {
            Self::MeanOverTexts => n > 0,
            Self::MeanOverPairs => n > 1,
            Self::OfSet => n >= k && k > 1,
        }
    }

    /// The number of texts that the measure needs in a report, as in `eval/README.md`.
    pub const fn texts_needed(self) -> &'static str {
        match self {
            Self::MeanOverTexts => "1",
            Self::MeanOverPairs => "2",
            Self::OfSet => "k",
        }
    }
}

/// The function of a measure, by its input. All return `None` where the measure is undefined; the last
/// argument is the parameters, in the order of [`Measure::parameters`].
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::type_complexity,
    reason = "a function type reads best where it stands"
)]
pub enum Function {
    /// A function of the texts.
    Texts(fn(&[&str], &[f64]) -> Option<f64>),
    /// A function of the cosine similarities of the embeddings: a row-major n x n matrix, and n.
    Cosines(fn(&[f64], usize, &[f64]) -> Option<f64>),
    /// A function of the equivalence class of each text.
    Classes(fn(&[i64], &[f64]) -> Option<f64>),
    /// A function of the equivalence class and the utility (1 to 10) of each text.
    ClassesAndUtilities(fn(&[i64], &[f64], &[f64]) -> Option<f64>),
    /// A function of the reward of each text.
    Rewards(fn(&[f64], &[f64]) -> Option<f64>),
}

impl Function {
    /// Name and description of each SQL argument.
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

    /// The name of the input, as in `eval/README.md`: `texts`, `embeddings`, ...
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
    /// The name in the signature of the SQL aggregate.
    pub name: &'static str,
    /// The default value.
    pub default: f64,
    /// The valid values.
    pub range: ParamRange,
}

/// The valid range of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamRange {
    /// The length of an n-gram: an integer from 1 to 64.
    NgramLength,
    /// A finite number > 0.
    Positive,
    /// A finite number > 1.
    AboveOne,
    /// A number >= 0, or infinity.
    NotNegative,
    /// A number >= 0 and < 1.
    BelowOne,
}

impl ParamRange {
    /// A description of the range, for error messages, if `value` is outside it.
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

/// The parameter `n`, the length of n-grams.
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
    /// The function that computes the measure.
    pub function: Function,
    /// The parameters of the SQL aggregate.
    pub parameters: &'static [Parameter],
    /// The part of the report that shows the measure.
    pub group: Group,
    /// How the measure depends on the number of texts.
    pub size: SetSize,
    /// Which values are better.
    pub direction: Direction,
    /// The definition, in one sentence.
    pub description: &'static str,
    /// The columns in a report; empty for a measure that only SQL has.
    pub columns: &'static [Column],
}

/// A column of a report: a measure with values of its parameters, in one embedding space.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The name in `report.json` and `values.parquet`.
    pub name: &'static str,
    /// The display name.
    pub title: &'static str,
    /// The definition, if it differs from that of the measure.
    pub description: Option<&'static str>,
    /// The embedding space; `None` for measures that do not use embeddings.
    pub space: Option<Space>,
    /// The values of the first parameters; the other parameters have their defaults.
    pub parameters: &'static [f64],
    /// Whether the column is shown with `--reference-compat` only.
    pub reference: bool,
}

impl Column {
    /// A column with default parameters and the measure's own description.
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

    /// A column with the value that published code computes: shown with `--reference-compat`, and excluded from
    /// the correction for multiple testing.
    pub(super) const fn reference(name: &'static str, title: &'static str) -> Self {
        Self {
            reference: true,
            ..Self::new(name, title)
        }
    }

    /// A column of a measure of embeddings, in one space.
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

    /// A column of a measure with non-default parameters.
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
