//! Data set card: counts, weights, options, sources and versions of one `pairs.parquet`.

use std::fmt::Write as _;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use serde::Serialize;

use super::Options;
use super::long_texts::SpaceTokens;
use super::weight_formula::WeightFormula;
use crate::store::{Store, part};
use crate::{Error, Result};

/// The heading of a card, by which an earlier one is known.
pub(super) const TITLE: &str = "# Preference pairs with weights";

/// The data set card of one `pairs.parquet`.
#[derive(Debug, Serialize)]
pub struct Card {
    /// The version of polyphony.
    pub polyphony: String,
    /// The SHA-256 of the pairs.
    pub sha256: String,
    /// The number of pairs.
    pub pairs: u64,
    /// The number of prompts with at least one pair.
    pub prompts: u64,
    /// The number of pairs of prompts with two responses, whose weight is 1 by construction.
    pub pairs_of_two_responses: u64,
    /// The fraction of pairs with weight 0, in [0, 1].
    pub share_of_zero_weights: f64,
    /// The mean weight of the chosen responses, over all pairs.
    pub mean_weight: f64,
    /// The same over the training split; none if it has no pair.
    pub mean_weight_train: Option<f64>,
    /// How the weights were made.
    pub weights: WeightFormula,
    /// The files and expressions that stand in the place of built-in ones, with their SHA-256.
    pub own_sql: Vec<String>,
    /// The histogram of the chosen responses' weights: the lower bound of each bin, and its number of
    /// pairs.
    pub weight_histogram: Vec<(f64, u64)>,
    /// The embedders, a line per deviation space: `semantic: NAME, revision R`.
    pub embedders: Vec<String>,
    /// Those of them whose deviations the weights depend on.
    pub weight_embedders: Vec<String>,
    /// Whether these embedders also selected the pairs (`divpo`, `marginal`) or their candidates (`dpp`).
    pub selected_by_embeddings: bool,
    /// The tokens that each embedder has read of the responses whose deviation is computed; none for built-in ones.
    pub tokens: Vec<SpaceTokens>,
    /// The options of the steps, as `step: name = value`.
    pub options: Vec<String>,
    /// The ingested files: name, SHA-256, and whether they were truncated.
    pub sources: Vec<String>,
    /// All counts, by section.
    pub sections: Vec<Section>,
}

/// A section of counts.
#[derive(Debug, Serialize)]
pub struct Section {
    /// The title.
    pub title: String,
    /// The counts with their labels.
    pub rows: Vec<(String, f64)>,
}

/// A row of `70_card.sql`.
struct Row {
    /// The name of the count, which does not change with its label.
    name: String,
    section: String,
    label: String,
    value: f64,
}

impl Card {
    /// The card from the rows of `70_card.sql` and `71_card_*.sql` (name, section, label, value), and the tokens by
    /// space.
    ///
    /// # Errors
    /// When the rows have other columns, or a required count is missing.
    pub fn new(
        store: &Store,
        options: &Options,
        tokens: Vec<SpaceTokens>,
        batches: &[RecordBatch],
    ) -> Result<Self> {
        let rows = rows(batches)?;
        let value = |name: &str| {
            let row = rows.iter().find(|row| row.name == name);
            row.map(|row| row.value).ok_or_else(|| {
                let hint = "keep the names of the built-in file's rows";
                Error::input("70_card.sql", format!("gives no row `{name}`"), hint)
            })
        };
        let bins = rows.iter().filter(|row| row.name == "weight_bin");
        let manifest = store.manifest();
        let weights = WeightFormula::of(options);
        let steps = manifest.steps.values().flat_map(|step| {
            let options = step.options.iter();
            options.map(|(name, value)| format!("{}: {name} = {value}", step.by))
        });
        let sources = manifest.sources.iter().map(|source| {
            let truncated = source.truncated.as_ref().map_or("", |_| " (truncated)");
            format!("{}{truncated}, SHA-256 {}", source.name, source.sha256)
        });
        let part = manifest.parts(crate::schema::PAIRS).first();
        Ok(Self {
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: part.map(|part| part.sha256.clone()).unwrap_or_default(),
            pairs: value("pairs")? as u64,
            prompts: value("prompts")? as u64,
            pairs_of_two_responses: value("pairs_of_two_responses")? as u64,
            share_of_zero_weights: value("share_of_zero_weights")?,
            mean_weight: value("weight_mean")?,
            mean_weight_train: value("weight_mean_train").ok(),
            own_sql: own_sql(options)?,
            weight_histogram: bins
                .map(|row| (row.label.parse().unwrap_or(f64::NAN), row.value as u64))
                .collect(),
            embedders: embedders(options, |_| true),
            weight_embedders: embedders(options, |space| weights.depends_on(options, space)),
            weights,
            selected_by_embeddings: options.strategy.needs_vectors() || options.selects_by_dpp(),
            tokens,
            options: steps.collect(),
            sources: sources.collect(),
            sections: sections(rows.iter()),
        })
    }

    /// The fraction of pairs of prompts with two responses, in [0, 1].
    pub fn share_of_two_responses(&self) -> f64 {
        self.pairs_of_two_responses as f64 / self.pairs.max(1) as f64
    }

    /// The card beside `pairs.parquet`, which holds all splits.
    pub fn markdown(&self) -> String {
        let note = "The file holds all splits, and `load_dataset` calls all of its rows `train`: keep the rows \
                    with `split` = `train` for training, or let `polyphony pairs --dataset DIR` write one \
                    file a split.\n\n";
        self.text("", note)
    }

    /// The card of a folder with one file a split, each named in its header.
    pub fn readme(&self, splits: &[String]) -> String {
        let mut header = String::from("configs:\n- config_name: default\n  data_files:\n");
        for split in splits {
            let _ = writeln!(header, "  - split: {split}\n    path: {split}.parquet");
        }
        self.text(&header, "")
    }

    /// The card in the Hugging Face Hub's data set card format: YAML header, then Markdown.
    fn text(&self, header: &str, note: &str) -> String {
        let mut text = format!(
            "---\n{header}tags:\n- preference\n- dpo\n- creative-writing\n---\n\n{TITLE}\n\n\
             Each row is a prompt with a chosen and a rejected story, as chats. `weight` multiplies \
             the loss of the pair (DDPO, DORPO). {}\n\n{note}",
            self.weights.sentence()
        );
        if self.pairs > 0 {
            let _ = writeln!(
                text,
                "{:.1} % of the pairs belong to prompts with two responses{}.\n",
                100.0 * self.share_of_two_responses(),
                if self.weights.two_weigh_one() {
                    ": their weight is 1 by construction"
                } else {
                    ""
                }
            );
        }
        for notice in self.tokens.iter().flat_map(|space| &space.notices) {
            let _ = writeln!(text, "> {notice}\n");
        }
        for section in &self.sections {
            let _ = writeln!(text, "## {}\n\n| | |\n|---|--:|", capital(&section.title));
            for (label, value) in &section.rows {
                let _ = writeln!(text, "| {label} | {} |", number(*value));
            }
            text.push('\n');
        }
        for (title, lines) in [
            ("Embedders", &self.embedders),
            ("Own SQL", &self.own_sql),
            ("Options", &self.options),
            ("Sources", &self.sources),
        ] {
            if lines.is_empty() {
                continue;
            }
            let _ = writeln!(text, "## {title}\n");
            for line in lines {
                let _ = writeln!(text, "- {line}");
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "Made by polyphony {}; SHA-256 {}",
            self.polyphony, self.sha256
        );
        text
    }
}

/// The embedders of some spaces, a line each: `semantic: NAME, revision R`.
pub fn embedders(options: &Options, is_included: impl Fn(&str) -> bool) -> Vec<String> {
    let spaces = options.spaces.iter();
    let spaces = spaces.filter(|(space, _)| is_included(space));
    let lines = spaces.map(|(space, embedder)| {
        let (name, revision) = (embedder.name(), embedder.revision());
        format!("{space}: {name}, revision {revision}")
    });
    lines.collect()
}

/// The files and expressions that stand in the place of built-in ones: name and SHA-256.
///
/// # Errors
/// When a file cannot be read.
pub fn own_sql(options: &Options) -> Result<Vec<String>> {
    let files = options.pipeline.own_files()?.into_iter();
    let mut lines: Vec<String> = files
        .map(|(path, sha256)| format!("{path}, SHA-256 {sha256}"))
        .collect();
    for (_, expression) in options.expressions() {
        let (option, text) = (expression.option(), expression.text());
        lines.push(format!(
            "{option} `{text}`, SHA-256 {}",
            expression.sha256()
        ));
    }
    Ok(lines)
}

fn rows(batches: &[RecordBatch]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in batches {
        let batch = part::plain(batch)?;
        let text = |column: usize| batch.columns().get(column)?.as_string_opt::<i32>();
        let value = batch.columns().get(3);
        let value = value.and_then(|column| column.as_primitive_opt::<Float64Type>());
        let (Some(name), Some(section), Some(label), Some(value)) =
            (text(0), text(1), text(2), value)
        else {
            let hint = "its columns are name, section and label (text) and value (DOUBLE)";
            return Err(Error::input("70_card.sql", "gives other columns", hint));
        };
        rows.extend((0..batch.num_rows()).map(|row| Row {
            name: name.value(row).to_owned(),
            section: section.value(row).to_owned(),
            label: label.value(row).to_owned(),
            value: value.value(row),
        }));
    }
    Ok(rows)
}

/// The rows grouped by section; the rows of a section must be adjacent.
fn sections<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for row in rows {
        let entry = (row.label.clone(), row.value);
        match sections.last_mut() {
            Some(section) if section.title == row.section => section.rows.push(entry),
            _ => sections.push(Section {
                title: row.section.clone(),
                rows: vec![entry],
            }),
        }
    }
    sections
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// Formats counts without decimals, fractions and weights with four.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        // A zero is added to turn -0 into 0.
        format!("{:.0}", value + 0.0)
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_no_decimals_and_zero_has_no_sign() {
        assert_eq!(number(-0.0), "0");
        assert_eq!(number(12.0), "12");
        assert_eq!(number(0.25), "0.2500");
    }
}
