//! What does the data set card say? Counts, options, sources and versions, beside the pairs.

use std::fmt::Write as _;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use serde::Serialize;

use super::Options;
use crate::Result;
use crate::store::{Store, part};

/// The card of one `pairs.parquet`.
#[derive(Debug, Serialize)]
pub struct Card {
    /// The version of polyphony.
    pub polyphony: String,
    /// The SHA-256 of the pairs.
    pub sha256: String,
    /// The embedders, a line a space: `semantic: NAME, revision R`.
    pub embedders: Vec<String>,
    /// The options of the steps, as `step: name = value`.
    pub options: Vec<String>,
    /// The ingested files: name, SHA-256, and whether they were cut off.
    pub sources: Vec<String>,
    /// The counts, section by section.
    pub sections: Vec<Section>,
}

/// Some counts that belong together.
#[derive(Debug, Serialize)]
pub struct Section {
    /// What is counted.
    pub title: String,
    /// The counts, by key.
    pub rows: Vec<(String, f64)>,
}

impl Card {
    /// A card from the rows of `70_card.sql` (section, key, value).
    ///
    /// # Errors
    /// When the rows are not of that shape.
    pub fn new(store: &Store, options: &Options, rows: &[RecordBatch]) -> Result<Self> {
        let mut sections: Vec<Section> = Vec::new();
        for batch in rows {
            let batch = part::plain(batch)?;
            let (titles, keys) = (
                batch.column(0).as_string::<i32>(),
                batch.column(1).as_string::<i32>(),
            );
            let values = batch.column(2).as_primitive::<Float64Type>();
            for ((title, key), value) in titles.iter().zip(keys).zip(values) {
                let (Some(title), Some(key), Some(value)) = (title, key, value) else {
                    continue;
                };
                if sections.last().is_none_or(|section| section.title != title) {
                    sections.push(Section {
                        title: title.to_owned(),
                        rows: Vec::new(),
                    });
                }
                if let Some(section) = sections.last_mut() {
                    section.rows.push((key.to_owned(), value));
                }
            }
        }
        let manifest = store.manifest();
        let embedders = options.spaces.iter().map(|(space, embedder)| {
            format!(
                "{space}: {}, revision {}",
                embedder.name(),
                embedder.revision()
            )
        });
        let steps = manifest.steps.values().flat_map(|step| {
            step.options
                .iter()
                .map(|(name, value)| format!("{}: {name} = {value}", step.by))
        });
        let sources = manifest.sources.iter().map(|source| {
            let cut = if source.truncated.is_some() {
                " (cut off)"
            } else {
                ""
            };
            format!("{}{cut}, SHA-256 {}", source.name, source.sha256)
        });
        Ok(Self {
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: manifest
                .parts(crate::schema::PAIRS)
                .first()
                .map(|part| part.sha256.clone())
                .unwrap_or_default(),
            embedders: embedders.collect(),
            options: steps.collect(),
            sources: sources.collect(),
            sections,
        })
    }

    /// One count; 0 when it is not there.
    pub fn value(&self, title: &str, key: &str) -> f64 {
        let section = self.sections.iter().find(|section| section.title == title);
        let row = section.and_then(|section| section.rows.iter().find(|(name, _)| name == key));
        row.map_or(0.0, |(_, value)| *value)
    }

    /// The card as a data set card of the hub: YAML header, then Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "---\ntags:\n- preference\n- dpo\n- creative-writing\n---\n\n# Preference pairs, weighted \
             by deviation\n\n\
             Each row is a prompt with a chosen and a rejected story, as chats. `weight` multiplies \
             the loss of the pair (DDPO, DORPO): how far the chosen story stands from the other \
             stories to its prompt, scaled so that a prompt's weights have mean 1.\n\n",
        );
        let pairs = self.value("pairs", "all");
        let two = self.value(
            "pairs",
            "of prompts with two responses (weight 1 by construction)",
        );
        if pairs > 0.0 {
            let _ = writeln!(
                text,
                "{:.1} % of the pairs belong to prompts with just two responses: their weight is 1 \
                 by construction.\n",
                100.0 * two / pairs
            );
        }
        for section in &self.sections {
            let _ = writeln!(text, "## {}\n\n| | |\n|---|--:|", capital(&section.title));
            for (key, value) in &section.rows {
                let _ = writeln!(text, "| {key} | {} |", number(*value));
            }
            text.push('\n');
        }
        for (title, lines) in [
            ("Embedders", &self.embedders),
            ("Options", &self.options),
            ("Sources", &self.sources),
        ] {
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

    /// The card as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// Counts without, shares and weights with decimals.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value:.4}")
    }
}
