//! Registry of measures: the list from which SQL aggregates, reports, help and documentation are generated.
//!
//! To add a measure, write a file with its function and a `pub const MEASURE`, and add it to [`MEASURES`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use polyphony_engine::{Error, Result};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::measure::{Direction, Group, Measure};
use super::{
    chamfer, compression_ratio, dcscore, distinct_k, distinct_n, ead, homogenization, log_det,
    looping, mean_distance, mean_reward, mean_words, ngram_diversity, pairwise_bleu,
    reference_compression_ratio, reference_homogenization, reference_self_repetition, self_bleu,
    self_repetition, semantic_entropy, utility_k, vendi,
};
use crate::space::Space;

/// All measures, in the order of the report's columns.
pub const MEASURES: [Measure; 22] = [
    mean_reward::MEASURE,
    utility_k::MEASURE,
    mean_distance::MEASURE,
    vendi::MEASURE,
    dcscore::MEASURE,
    log_det::MEASURE,
    chamfer::MEASURE,
    distinct_k::MEASURE,
    semantic_entropy::MEASURE,
    homogenization::MEASURE,
    self_bleu::MEASURE,
    pairwise_bleu::MEASURE,
    self_repetition::MEASURE,
    looping::MEASURE,
    compression_ratio::MEASURE,
    ngram_diversity::MEASURE,
    distinct_n::MEASURE,
    ead::MEASURE,
    reference_homogenization::MEASURE,
    reference_compression_ratio::MEASURE,
    reference_self_repetition::MEASURE,
    mean_words::MEASURE,
];

/// The name of the column of the mean reward.
pub const REWARD: &str = "reward";
/// The name of the column of the mean number of words.
pub const WORDS: &str = "words";

/// A column of the report; serialised as an entry of `measures` in `report.json`.
#[derive(Debug, Clone, Serialize)]
pub struct ReportColumn {
    /// The name in `report.json` and `values.parquet`.
    pub name: &'static str,
    /// The display name.
    pub title: &'static str,
    /// The part of the report that shows the column.
    pub group: Group,
    /// Which values are better.
    pub direction: Direction,
    /// The definition, in one sentence.
    pub description: &'static str,
    /// Whether differences in this column are exploratory: outside the family of tests that p-values are corrected
    /// for.
    pub exploratory: bool,
    /// The measure that the column shows.
    #[serde(skip)]
    pub measure: &'static Measure,
    /// The embedding space; `None` for measures that do not use embeddings.
    #[serde(skip)]
    pub space: Option<Space>,
    /// The values of all parameters of the measure's function.
    #[serde(skip)]
    pub parameters: Vec<f64>,
    /// Whether the column is shown with `--reference-compat` only.
    #[serde(skip)]
    pub reference: bool,
}

/// All columns of the report, in the order of [`MEASURES`].
pub fn columns() -> &'static [ReportColumn] {
    static ALL: [Measure; MEASURES.len()] = MEASURES;
    static COLUMNS: LazyLock<Vec<ReportColumn>> = LazyLock::new(|| {
        let columns = ALL.iter().flat_map(|measure| {
            measure.columns.iter().map(move |column| {
                let defaults = measure.parameters.iter().skip(column.parameters.len());
                let explicit = column.parameters.iter().copied();
                ReportColumn {
                    name: column.name,
                    title: column.title,
                    group: measure.group,
                    direction: measure.direction,
                    description: column.description.unwrap_or(measure.description),
                    exploratory: column.reference,
                    measure,
                    space: column.space,
                    parameters: explicit.chain(defaults.map(|p| p.default)).collect(),
                    reference: column.reference,
                }
            })
        });
        columns.collect()
    });
    &COLUMNS
}

/// The index of a column in [`columns`]; `None` for an unknown name.
pub fn column_index(name: &str) -> Option<usize> {
    columns().iter().position(|column| column.name == name)
}

/// The indices of columns by comma-separated names, each once, in the order of [`columns`].
///
/// # Errors
/// When a name is that of no column; the error lists the known ones.
pub fn parse_columns(names: &str) -> Result<Vec<usize>> {
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let indices = names.map(|name| {
        column_index(name).ok_or_else(|| Error::Unknown {
            what: "measure",
            given: name.to_owned(),
            known: columns()
                .iter()
                .map(|column| column.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    });
    let indices: BTreeSet<usize> = indices.collect::<Result<_>>()?;
    Ok(indices.into_iter().collect())
}

/// Serialises values by column index as a map from column name to value.
pub(crate) fn by_column<S: Serializer, T: Serialize>(
    values: &[(usize, Option<T>)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(values.len()))?;
    for (column, value) in values {
        map.serialize_entry(columns()[*column].name, value)?;
    }
    map.end()
}

/// The list of measures for `eval --help`.
pub fn help() -> String {
    let width = columns().iter().map(|column| column.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = "Measures of the report, per model and prompt:\n".to_owned();
    for column in columns() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:width$}  {}", column.name, column.description);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The table of measures in `eval/README.md`; a test checks that the file contains it.
pub fn markdown_table() -> String {
    let mut text = "| SQL aggregate | input | report columns | better | texts | definition |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    for measure in &MEASURES {
        let names = measure.columns.iter().map(|column| {
            let compat = if column.reference {
                " (`--reference-compat`)"
            } else {
                ""
            };
            format!("`{}`{compat}", column.name)
        });
        let columns = match measure.columns {
            [] => "none, SQL only".to_owned(),
            _ => names.collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {columns} | {} | {} | {} |",
            super::udaf::signature(measure),
            measure.function.input(),
            measure.direction.name(),
            measure.size.texts_needed(),
            measure.description
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_measures_and_columns_are_unique() {
        let measures: HashSet<&str> = MEASURES.iter().map(|measure| measure.name).collect();
        assert_eq!(measures.len(), MEASURES.len());
        let names: HashSet<&str> = columns().iter().map(|column| column.name).collect();
        assert_eq!(names.len(), columns().len());
        for name in [REWARD, WORDS, Space::Semantic.name(), Space::Style.name()] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn readme_table_equals_the_registry() {
        let readme = include_str!("../../README.md");
        let table = readme
            .split_once("<!-- measures: generated from the registry -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- /measures -->"));
        let table = table.map(|(table, _)| table.trim()).unwrap_or_default();
        let expected = markdown_table();
        assert!(
            table == expected.trim(),
            "put this between the markers of eval/README.md:\n{expected}"
        );
    }
}
