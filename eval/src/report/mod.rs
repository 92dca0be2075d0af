//! Report: `report.json` holds everything; `report.md`, `report.html` and the plots show it.

mod distribution_plot;
mod length_plot;
mod markdown;
pub mod number;
mod page;
mod plane_plot;
mod plots;
mod terminal_summary;
mod values_parquet;

use std::collections::BTreeMap;
use std::path::Path;

use arrow::ARROW_VERSION;
use polyphony_engine::Result;
use polyphony_engine::datafusion::DATAFUSION_VERSION;
use polyphony_io::atomic::{write_atomic, write_json};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::terminal_summary::terminal_summary;
use crate::compare::comparisons::{Comparison, comparisons};
use crate::compare::cross_model_distance::{CrossModelDistance, cross_model_distances};
use crate::config::{EvalConfig, RewardSource, SpaceSource};
use crate::evaluation::Evaluation;
use crate::measures::registry::{ReportColumn, columns};
use crate::outputs::Input;
use crate::space::PerSpace;
use crate::stats::bootstrap::BootstrapCache;
use crate::summary::{ModelSummary, summaries};

/// The largest number of prompts whose texts the page shows.
const PROMPTS_SHOWN: usize = 300;
/// The largest number of bytes of texts in the page.
const BYTES_SHOWN: usize = 24 << 20;

/// A report; its fields are those of `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `polyphony-report`.
    pub format: &'static str,
    /// The version of this layout.
    pub version: u32,
    /// The versions of this program and of its libraries.
    pub versions: BTreeMap<&'static str, String>,
    /// The options, named as the flags.
    pub options: BTreeMap<&'static str, Value>,
    /// The files of outputs.
    pub inputs: Vec<Input>,
    /// Warnings: what limits the numbers, in plain sentences.
    pub warnings: Vec<String>,
    /// The embedders, or columns, that diversity comes from.
    pub spaces: PerSpace<Embedder>,
    /// The source of rewards.
    pub reward: Option<Source>,
    /// The measures with a value somewhere.
    pub measures: Vec<ReportColumn>,
    /// The models, gold last.
    pub models: Vec<ModelSummary>,
    /// The paired comparison of every two models.
    pub comparisons: Vec<Comparison>,
    /// The distance between the texts of every two models, by space.
    pub cross_model_distance: Vec<CrossModelDistance>,
    /// The number of prompts.
    pub prompt_count: usize,
    /// The number of prompts whose texts the page shows.
    pub prompts_shown: usize,
}

/// An embedder, or a column with deviations.
#[derive(Debug, Serialize)]
pub struct Embedder {
    /// The model, or `column NAME`.
    pub name: String,
    /// The hash of the model's files, or the version of a built-in one.
    pub revision: Option<String>,
}

/// The source of rewards.
#[derive(Debug, Serialize)]
pub struct Source {
    /// `column NAME` or `model NAME`.
    pub source: String,
    /// The hash of the model's files, where it is a model.
    pub revision: Option<String>,
}

/// Provenance: where the numbers of a report come from.
#[derive(Debug, Default)]
pub struct Provenance {
    /// The files of outputs.
    pub inputs: Vec<Input>,
    /// Warnings about the files and the selected texts.
    pub warnings: Vec<String>,
    /// The column of the rewards.
    pub score: Option<String>,
    /// The hash of the reward model's files.
    pub reward_revision: Option<String>,
}

/// Summarises an evaluation, with all tests.
pub fn report(evaluation: &Evaluation<'_>, config: &EvalConfig, provenance: Provenance) -> Report {
    let embedder = |source: &SpaceSource| match source {
        SpaceSource::Embedder(embedder) => Embedder {
            name: embedder.name().to_owned(),
            revision: Some(embedder.revision().to_owned()),
        },
        SpaceSource::Column(name) => Embedder {
            name: format!("column {name}"),
            revision: None,
        },
    };
    let reward = match &config.reward {
        RewardSource::None => None,
        RewardSource::Model(name, _) => Some(format!("model {name}")),
        RewardSource::Column(_) => provenance.score.map(|name| format!("column {name}")),
    };
    let resampling = config.resampling;
    let bootstrap = BootstrapCache::new(resampling.bootstrap_samples, resampling.seed);
    Report {
        format: "polyphony-report",
        version: 2,
        versions: BTreeMap::from([
            ("arrow", ARROW_VERSION.to_owned()),
            ("datafusion", DATAFUSION_VERSION.to_owned()),
            ("polyphony", env!("CARGO_PKG_VERSION").to_owned()),
        ]),
        options: BTreeMap::from([
            ("k", json!(evaluation.k)),
            ("seed", json!(resampling.seed)),
            ("bootstrap_samples", json!(resampling.bootstrap_samples)),
            ("permutations", json!(resampling.permutations)),
            ("equivalence", json!(config.equivalence)),
            ("reference_compat", json!(config.reference_compat)),
            ("columns", json!(config.columns.to_string())),
        ]),
        inputs: provenance.inputs,
        warnings: provenance.warnings,
        spaces: config.spaces.as_ref().map(embedder),
        reward: reward.map(|source| Source {
            source,
            revision: provenance.reward_revision,
        }),
        measures: evaluation
            .defined_columns()
            .into_iter()
            .map(|at| columns()[at].clone())
            .collect(),
        models: summaries(evaluation, &bootstrap),
        comparisons: comparisons(evaluation, resampling, &bootstrap),
        cross_model_distance: cross_model_distances(evaluation, &bootstrap),
        prompt_count: evaluation.prompts.len(),
        prompts_shown: prompts_shown(evaluation).len(),
    }
}

/// The indices of the prompts whose texts the page shows: the first ones, without those whose texts are
/// larger than the room that is left.
fn prompts_shown(evaluation: &Evaluation<'_>) -> Vec<usize> {
    let bytes = |prompt: usize| -> usize {
        let cells = evaluation
            .cells
            .iter()
            .filter_map(|row| row[prompt].as_ref());
        cells
            .flat_map(|cell| &cell.texts)
            .map(|text| text.output.response.len())
            .sum()
    };
    fitting((0..evaluation.prompts.len()).map(bytes), BYTES_SHOWN)
}

/// The indices of the first sizes that fit together into `room`.
fn fitting(sizes: impl Iterator<Item = usize>, mut room: usize) -> Vec<usize> {
    let fits = |(_, size): &(usize, usize)| {
        let fits = *size <= room;
        if fits {
            room -= size;
        }
        fits
    };
    let places = sizes.enumerate().filter(fits).map(|(place, _)| place);
    places.take(PROMPTS_SHOWN).collect()
}

/// Writes `report.json`, `report.md`, `report.html`, `values.parquet` and the plots.
///
/// # Errors
/// When a file cannot be written.
pub fn write(report: &Report, evaluation: &Evaluation<'_>, out: &Path) -> Result<()> {
    write_json(&out.join("report.json"), report)?;
    write_atomic(
        &out.join("report.md"),
        markdown::markdown(report).as_bytes(),
    )?;
    values_parquet::write(evaluation, out)?;
    let plots = plots::plots(report, evaluation);
    plots::write(&plots, &out.join("plots"))?;
    let page = page::page(report, evaluation, &plots)?;
    write_atomic(&out.join("report.html"), page.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_too_large_for_the_page_leave_room_for_the_next() {
        assert_eq!(fitting([3, 90, 4, 5, 1].into_iter(), 10), [0, 2, 4]);
        assert_eq!(fitting([0; 500].into_iter(), 0).len(), PROMPTS_SHOWN);
        assert!(fitting([11].into_iter(), 10).is_empty());
    }
}
