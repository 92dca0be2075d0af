//! What do people read? `report.json` holds all of it; Markdown, the page and the plots show it.

mod distribution;
mod length;
mod markdown;
mod page;
mod plane;
mod svg;
mod terminal_summary;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::ARROW_VERSION;
use polyphony_engine::datafusion::DATAFUSION_VERSION;
use polyphony_engine::{Error, Result};
use polyphony_io::atomic::write_atomic;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

pub use self::terminal_summary::terminal_summary;
use crate::catalogue::{MEASURES, Measure};
use crate::compare::{Comparison, ResamplingConfig, comparisons};
use crate::evaluate::{EvalConfig, Evaluation, Reward, SPACES, Space};
use crate::likeness::{CrossModelDistance, cross_model_distances};
use crate::outputs::Input;
use crate::statistics::bootstrap::BootstrapCache;
use crate::summary::{Model, models};

/// How many prompts the page shows the texts of.
const PROMPTS_SHOWN: usize = 300;
/// The page holds about this many bytes of texts at most.
const BYTES_SHOWN: usize = 24 << 20;

/// All that a report says; the fields of `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `polyphony-report`.
    pub format: &'static str,
    /// The version of this layout.
    pub version: u32,
    /// Names and versions of what made it.
    pub made_with: BTreeMap<&'static str, String>,
    /// What was asked.
    pub options: BTreeMap<&'static str, Value>,
    /// The files.
    pub inputs: Vec<Input>,
    /// What the reader must know.
    pub notices: Vec<String>,
    /// Where diversity comes from, by space.
    pub spaces: BTreeMap<&'static str, Named>,
    /// Where rewards come from.
    pub reward: Option<Source>,
    /// The measures that are defined somewhere.
    pub measures: Vec<Measure>,
    /// The models, gold last.
    pub models: Vec<Model>,
    /// Every two of them.
    pub comparisons: Vec<Comparison>,
    /// How far texts of two models lie apart, by space.
    pub likeness: Vec<CrossModelDistance>,
    /// How many prompts there are.
    pub prompt_count: usize,
    /// How many of them the page shows the texts of.
    pub prompts_shown: usize,
}

/// An embedder, or a column.
#[derive(Debug, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub revision: Option<String>,
}

/// Where something comes from.
#[derive(Debug, Serialize)]
pub struct Source {
    /// In words.
    pub source: String,
    /// Its version, where it is a model.
    pub revision: Option<String>,
}

/// What was read, for the report's first lines.
#[derive(Debug, Default)]
pub struct Provenance {
    /// The files.
    pub inputs: Vec<Input>,
    /// What the reader must know.
    pub notices: Vec<String>,
    /// The column of the rewards.
    pub score: Option<String>,
    /// What the reward model's files hold.
    pub reward_revision: Option<String>,
    /// Which columns were named.
    pub columns: String,
}

/// Sums up an evaluation.
pub fn report(
    evaluation: &Evaluation<'_>,
    how: &EvalConfig,
    facts: Provenance,
    rigour: ResamplingConfig,
) -> Report {
    let named = |space: &Space| match space {
        Space::Embedder(embedder) => Named {
            name: embedder.name().to_owned(),
            revision: Some(embedder.revision().to_owned()),
        },
        Space::Column(name) => Named {
            name: format!("column {name}"),
            revision: None,
        },
    };
    let reward = match &how.reward {
        Reward::None => None,
        Reward::Model(name, _) => Some(format!("model {name}")),
        Reward::Column => facts.score.map(|name| format!("column {name}")),
    };
    let k = evaluation.k;
    let redraws = BootstrapCache::new(rigour.replicates, rigour.seed);
    Report {
        format: "polyphony-report",
        version: 1,
        made_with: BTreeMap::from([
            ("arrow", ARROW_VERSION.to_owned()),
            ("datafusion", DATAFUSION_VERSION.to_owned()),
            ("polyphony", env!("CARGO_PKG_VERSION").to_owned()),
        ]),
        options: BTreeMap::from([
            ("k", json!(k)),
            ("seed", json!(rigour.seed)),
            ("replicates", json!(rigour.replicates)),
            ("draws", json!(rigour.draws)),
            ("classes", json!(how.classes)),
            ("reference_compat", json!(how.reference_compat)),
            ("columns", json!(facts.columns)),
        ]),
        inputs: facts.inputs,
        notices: facts.notices,
        spaces: SPACES
            .into_iter()
            .zip(how.spaces.iter().map(named))
            .collect(),
        reward: reward.map(|source| Source {
            source,
            revision: facts.reward_revision,
        }),
        measures: evaluation
            .measures()
            .into_iter()
            .map(|at| MEASURES[at])
            .collect(),
        models: models(evaluation, &redraws),
        comparisons: comparisons(evaluation, rigour, &redraws),
        likeness: cross_model_distances(evaluation, &redraws),
        prompt_count: evaluation.prompts.len(),
        prompts_shown: shown(evaluation).len(),
    }
}

/// Which prompts' texts the page holds, by their places: the first ones, but for those whose texts are
/// too large for what room is left.
fn shown(evaluation: &Evaluation<'_>) -> Vec<usize> {
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

/// The places of the first sizes that have room together.
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
/// When the disk is full.
pub fn write(report: &Report, evaluation: &Evaluation<'_>, out: &Path) -> Result<()> {
    let mut json = serde_json::to_string_pretty(report).unwrap_or_default();
    json.push('\n');
    write_atomic(&out.join("report.json"), json.as_bytes())?;
    write_atomic(
        &out.join("report.md"),
        markdown::markdown(report).as_bytes(),
    )?;
    values::write(evaluation, out)?;
    let plots = plots(report, evaluation);
    remove_plots(&out.join("plots"))?;
    for (name, svg) in plots.all() {
        write_atomic(
            &out.join("plots").join(format!("{name}.svg")),
            svg::alone(svg).as_bytes(),
        )?;
    }
    let page = page::page(report, evaluation, &plots)?;
    write_atomic(&out.join("report.html"), page.as_bytes())
}

/// Removes the pictures of an earlier report: some of them may not be made again.
fn remove_plots(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let ours = |name: &String| {
            let vocab_size = ["plane_", "distribution_", "length_"];
            let is_svg = path.extension().is_some_and(|end| end == "svg");
            is_svg && vocab_size.iter().any(|kind| name.starts_with(kind))
        };
        if name.as_ref().is_some_and(ours) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The report's pictures.
#[derive(Debug, Serialize)]
struct Plots {
    plane_semantic: Option<String>,
    plane_style: Option<String>,
    distributions: Vec<Plot>,
    length: Vec<Plot>,
}

/// A picture of a measure.
#[derive(Debug, Serialize)]
struct Plot {
    measure: &'static str,
    title: &'static str,
    svg: String,
}

impl Plots {
    /// Every picture by the name of its file.
    fn all(&self) -> Vec<(String, &str)> {
        let planes = [
            ("plane_semantic", &self.plane_semantic),
            ("plane_style", &self.plane_style),
        ];
        let planes = planes
            .into_iter()
            .filter_map(|(name, svg)| Some((name.to_owned(), svg.as_deref()?)));
        let of = |kind: &'static str| move |plot: &'_ Plot| format!("{kind}_{}", plot.measure);
        let distributions = self.distributions.iter();
        let distributions = distributions.map(|plot| (of("distribution")(plot), plot.svg.as_str()));
        let length = self
            .length
            .iter()
            .map(|plot| (of("length")(plot), plot.svg.as_str()));
        planes.chain(distributions).chain(length).collect()
    }
}

fn plots(report: &Report, evaluation: &Evaluation<'_>) -> Plots {
    let plot = |svg: fn(&Evaluation<'_>, usize) -> Option<String>| {
        move |at: usize| {
            Some(Plot {
                measure: MEASURES[at].name,
                title: MEASURES[at].title,
                svg: svg(evaluation, at)?,
            })
        }
    };
    let measures = evaluation.measures();
    // Length is shown beside the measures that a report leads with.
    let leading = [
        "reward",
        "semantic",
        "style",
        "homogenization",
        "self_bleu",
        "compression_ratio",
        "ngram_diversity",
    ];
    let lengths = measures
        .iter()
        .copied()
        .filter(|at| leading.contains(&MEASURES[*at].name));
    Plots {
        plane_semantic: plane::plane(report, 0),
        plane_style: plane::plane(report, 1),
        length: lengths.filter_map(plot(length::length)).collect(),
        distributions: measures
            .iter()
            .copied()
            .filter_map(plot(distribution::distribution))
            .collect(),
    }
}

/// Values under their measures' names.
pub(crate) fn by_measure<S: Serializer, T: Serialize>(
    values: &[(usize, Option<T>)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(values.len()))?;
    for (at, value) in values {
        map.serialize_entry(MEASURES[*at].name, value)?;
    }
    map.end()
}

/// Values under their spaces' names.
pub(crate) fn by_space<S: Serializer, T: Serialize>(
    values: &[T; 2],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(SPACES.iter().zip(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_the_page_keeps_nothing_else_out() {
        assert_eq!(fitting([3, 90, 4, 5, 1].into_iter(), 10), [0, 2, 4]);
        assert_eq!(fitting([0; 500].into_iter(), 0).len(), PROMPTS_SHOWN);
        assert!(fitting([11].into_iter(), 10).is_empty());
    }
}
