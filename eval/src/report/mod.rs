//! Report: `report.json` contains all results; `report.md`, `report.html` and the plots present them.

mod arguments;
mod distribution_plot;
mod length_plot;
mod markdown;
pub mod number;
mod out_folder;
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
use polyphony_engine::embed::token_counts::TokenCounts;
use polyphony_io::atomic::{write_atomic, write_json};
use polyphony_model::encoder::text_tokenizer::LongTexts;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::arguments::MODELS as MODEL_ARGUMENTS;
pub(crate) use self::out_folder::refuse_foreign_files;
pub use self::terminal_summary::terminal_summary;
use crate::compare::adapter_curve::{AdapterCurve, adapter_curves};
use crate::compare::closer_than_people::{CloserThanPeople, closer_than_people};
use crate::compare::comparisons::{Comparison, comparisons, is_primary};
use crate::compare::cross_model_distance::{CrossModelDistance, cross_model_distances};
use crate::compare::overused_terms::{OverusedTerms, overused_terms};
use crate::config::{EvalConfig, RewardSource, SpaceSource};
use crate::evaluation::Evaluation;
use crate::measures::registry::{ReportColumn, columns};
use crate::outputs::Input;
use crate::space::{PerSpace, Space};
use crate::stats::bootstrap::BootstrapCache;
use crate::summary::{ModelSummary, summaries};

/// The name of the format of `report.json`.
const FORMAT: &str = "polyphony-report";
/// The maximum number of prompts whose texts the page shows.
const PROMPTS_SHOWN: usize = 300;
/// The maximum number of bytes of texts in the page.
const BYTES_SHOWN: usize = 24 << 20;

/// The report; its fields are those of `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The name of the format: `polyphony-report`.
    pub format: &'static str,
    /// The version of the format.
    pub version: u32,
    /// The versions of this program and its libraries.
    pub versions: BTreeMap<&'static str, String>,
    /// The options by name; names are those of the command-line flags.
    pub options: BTreeMap<&'static str, Value>,
    /// The options as on the command line, by flag with `_` for `-`, with paths relative to the report's folder:
    /// with them, the report can be made again.
    pub arguments: BTreeMap<String, Value>,
    /// The input files.
    pub inputs: Vec<Input>,
    /// Warnings about limitations of the results.
    pub warnings: Vec<String>,
    /// The embedder, or the column with deviations, of each space.
    pub spaces: PerSpace<Embedder>,
    /// The source of rewards; `None` without rewards.
    pub reward: Option<Source>,
    /// The columns with at least one value.
    pub measures: Vec<ReportColumn>,
    /// The summary of each model, gold last.
    pub models: Vec<ModelSummary>,
    /// The paired comparison of every pair of models.
    pub comparisons: Vec<Comparison>,
    /// The distance between the texts of every pair of models, by space.
    pub cross_model_distance: Vec<CrossModelDistance>,
    /// The adapters with outputs at several scales.
    pub adapter_curves: Vec<AdapterCurve>,
    /// How often two stories of a model, or of two models, are closer than two people's to the same prompt, by
    /// space; empty without gold.
    pub closer_than_people: Vec<CloserThanPeople>,
    /// The words and phrases that each model uses more than people do; empty without gold.
    pub overused_terms: Vec<OverusedTerms>,
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
    /// The hash of the model's files, or the version of a built-in embedder; `None` for a column. It ends in `-mean`
    /// where long texts are means of windows.
    pub revision: Option<String>,
    /// The maximum length of a text in tokens, special tokens included; not of embedders without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// How texts were read that are longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_texts: Option<LongTexts>,
    /// The tokens of the texts, and how many of them the embedder has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenCounts>,
}

/// The source of rewards in a report.
#[derive(Debug, Serialize)]
pub struct Source {
    /// `column NAME` or `model NAME`.
    pub source: String,
    /// The hash of the reward model's files; `None` for a column.
    pub revision: Option<String>,
}

/// Provenance: the origin of the numbers of a report.
#[derive(Debug, Default)]
pub struct Provenance {
    /// The files of outputs.
    pub inputs: Vec<Input>,
    /// Warnings about the files and the selected texts.
    pub warnings: Vec<String>,
    /// The column of the rewards, if they come from a column.
    pub score: Option<String>,
    /// The hash of the reward model's files, if a model computed the rewards.
    pub reward_revision: Option<String>,
}

/// The versions of this program and its libraries.
pub(crate) fn versions() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("arrow", ARROW_VERSION.to_owned()),
        ("datafusion", DATAFUSION_VERSION.to_owned()),
        ("polyphony", env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

/// Summarises an evaluation as a report, with confidence intervals and significance tests.
pub fn report(evaluation: &Evaluation<'_>, config: &EvalConfig, provenance: Provenance) -> Report {
    let embedder = |space: Space| match config.spaces.get(space) {
        SpaceSource::Embedder(embedder) => Embedder {
            name: embedder.name().to_owned(),
            revision: Some(embedder.revision().to_owned()),
            max_tokens: embedder.max_tokens(),
            long_texts: embedder.long_texts(),
            tokens: *evaluation.tokens.get(space),
        },
        SpaceSource::Column(name) => Embedder {
            name: format!("column {name}"),
            revision: None,
            max_tokens: None,
            long_texts: None,
            tokens: None,
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
        format: FORMAT,
        version: 3,
        versions: versions(),
        options: BTreeMap::from([
            ("k", json!(evaluation.k)),
            ("seed", json!(resampling.seed)),
            ("bootstrap_samples", json!(resampling.bootstrap_samples)),
            ("permutations", json!(resampling.permutations)),
            ("equivalence", json!(config.equivalence)),
            ("reference_compat", json!(config.reference_compat)),
            ("columns", json!(config.columns.to_string())),
            ("primary", json!(primary_names(config))),
        ]),
        arguments: arguments::arguments(config),
        inputs: provenance
            .inputs
            .into_iter()
            .map(|input| Input {
                path: arguments::relative(&config.out, Path::new(&input.path)),
                ..input
            })
            .collect(),
        warnings: provenance.warnings,
        spaces: PerSpace::from_fn(embedder),
        reward: reward.map(|source| Source {
            source,
            revision: provenance.reward_revision,
        }),
        measures: evaluation
            .defined_columns()
            .into_iter()
            .map(|at| ReportColumn {
                exploratory: !is_primary(at, &config.primary),
                ..columns()[at].clone()
            })
            .collect(),
        models: summaries(evaluation, &bootstrap),
        comparisons: comparisons(evaluation, &config.primary, resampling, &bootstrap),
        cross_model_distance: cross_model_distances(evaluation, &bootstrap),
        adapter_curves: adapter_curves(evaluation),
        closer_than_people: closer_than_people(evaluation, &bootstrap),
        overused_terms: overused_terms(evaluation),
        prompt_count: evaluation.prompts.len(),
        prompts_shown: prompts_shown(evaluation).len(),
    }
}

/// The names of the primary measures, as in `--primary`; `None` if they were not declared.
fn primary_names(config: &EvalConfig) -> Option<String> {
    let names: Vec<&str> = config
        .primary
        .iter()
        .map(|at| columns()[*at].name)
        .collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The indices of the prompts whose texts the page shows: the first ones that fit, see [`fitting`].
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

/// The indices of the first [`PROMPTS_SHOWN`] sizes that fit into `room` bytes in total; a size above the
/// remaining room is skipped.
fn fitting(sizes: impl Iterator<Item = usize>, mut room: usize) -> Vec<usize> {
    let fits = |(_, size): &(usize, usize)| {
        let fits = *size <= room;
        if fits {
            room -= size;
        }
        fits
    };
    let indices = sizes.enumerate().filter(fits).map(|(index, _)| index);
    indices.take(PROMPTS_SHOWN).collect()
}

/// Writes `report.json`, `report.md`, `report.html`, `values.parquet` and the plots to the folder `out`.
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
    fn prompts_too_large_for_the_page_are_skipped() {
        assert_eq!(fitting([3, 90, 4, 5, 1].into_iter(), 10), [0, 2, 4]);
        assert_eq!(fitting([0; 500].into_iter(), 0).len(), PROMPTS_SHOWN);
        assert!(fitting([11].into_iter(), 10).is_empty());
    }
}
