//! Model summary: the mean of each measure over prompts, with standard error, bootstrap confidence interval and
//! correlation with length.

use serde::Serialize;

use crate::evaluation::{Evaluation, ModelPrompt, Run, Text};
use crate::measures::looping;
use crate::measures::registry::{self, REWARD, WORDS, columns};
use crate::outputs::GOLD;
use crate::space::{PerSpace, Space};
use crate::stats::bootstrap::BootstrapCache;
use crate::stats::clustered_error::se_clustered;
use polyphony_io::correlation::spearman;

use crate::stats::correlation::spearman_p;
use crate::stats::ellipse::{Ellipse, ellipse_of_runs};
use crate::stats::mean::{mean, sd, se};
use crate::stats::pareto::pareto_front;
use crate::stats::two_level::TwoLevel;

/// The summary of a model in a report.
#[derive(Debug, Clone, Serialize)]
pub struct ModelSummary {
    /// The name of the model.
    pub name: String,
    /// Whether these are the human-written texts.
    pub gold: bool,
    /// The number of prompts that the model has texts to.
    pub prompts: usize,
    /// The number of evaluated texts of the model.
    pub responses: usize,
    /// The runs of the model; empty for a model of one run.
    pub runs: Vec<RunSummary>,
    /// The summary of each defined column, by column index; `None` where undefined for this model.
    #[serde(serialize_with = "registry::by_column")]
    pub values: Vec<(usize, Option<MeasureSummary>)>,
    /// Whether so many of its texts loop ([`looping::MARKED_SHARE`]) that its diversity is not that of stories.
    pub loops: bool,
    /// Whether the model is on the Pareto front of reward and diversity; `None` without both values.
    pub on_front: PerSpace<Option<bool>>,
    /// The mean of reward and diversity with its 95 % confidence ellipse.
    pub ellipses: PerSpace<Option<Ellipse>>,
}

/// The summary of a training run in a report.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The seed of the run.
    pub seed: String,
    /// The number of prompts that the run has texts to.
    pub prompts: usize,
    /// The number of evaluated texts of the run.
    pub responses: usize,
    /// The mean of each defined column over the run's own prompts, by column index; `None` where undefined.
    #[serde(serialize_with = "registry::by_column")]
    pub values: Vec<(usize, Option<RunValue>)>,
}

/// The mean of a measure over the prompts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RunValue {
    /// The mean over prompts.
    pub mean: f64,
    /// The standard error of the mean over prompts; `None` for one prompt.
    pub se: Option<f64>,
    /// The number of prompts with a value.
    pub prompts: usize,
}

/// The mean of a measure over prompts, with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasureSummary {
    /// The mean over prompts.
    pub mean: f64,
    /// The standard error of the mean over prompts, and over runs where there are several (see
    /// [`crate::stats::two_level`]); `None` for one prompt.
    pub se: Option<f64>,
    /// For values per text (reward, words): the standard error of the mean over texts, clustered by prompt.
    /// Equals `se` if all prompts have the same number of texts.
    pub se_clustered: Option<f64>,
    /// The lower end of the 95 % confidence interval: bootstrap-t over prompts, or over
    /// prompts and runs where there are several.
    pub ci_low: Option<f64>,
    /// The upper end of that confidence interval.
    pub ci_high: Option<f64>,
    /// The number of prompts with a value.
    pub prompts: usize,
    /// The standard deviation of the means of the runs; `None` for one run.
    pub sd_runs: Option<f64>,
    /// Spearman's rho with the texts' mean number of words, over prompts.
    pub length_rho: Option<f64>,
    /// The two-sided p-value of `length_rho` (scipy: `spearmanr`); `None` below ten prompts.
    pub length_p: Option<f64>,
}

/// Summarises every model.
pub fn summaries(evaluation: &Evaluation<'_>, bootstrap: &BootstrapCache) -> Vec<ModelSummary> {
    let measures = evaluation.defined_columns();
    let words = registry::column_index(WORDS).unwrap_or_default();
    let mut models: Vec<ModelSummary> = evaluation
        .models
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let lengths = evaluation.values(at, words);
            let value = |&measure: &usize| {
                let values = evaluation.values(at, measure);
                let lengths = (measure != words).then_some(lengths.as_slice());
                let runs = run_means(evaluation, at, measure, &values);
                let summary = summary(&values, &runs, lengths, bootstrap);
                let clustered = clustered(&evaluation.cells[at], measure);
                let with_clustered = |summary| MeasureSummary {
                    se_clustered: clustered,
                    ..summary
                };
                (measure, summary.map(with_clustered))
            };
            let cells = evaluation.cells[at].iter().flatten();
            ModelSummary {
                name: name.clone(),
                gold: name == GOLD,
                prompts: cells.clone().count(),
                responses: cells.map(|cell| cell.texts.len()).sum(),
                runs: evaluation.runs[at]
                    .iter()
                    .map(|run| run_summary(run, &measures))
                    .collect(),
                values: measures.iter().map(value).collect(),
                loops: loops(evaluation, at),
                on_front: PerSpace::default(),
                ellipses: PerSpace::from_fn(|space| reward_and_diversity(evaluation, at, space)),
            }
        })
        .collect();
    for space in Space::ALL {
        let center = |model: &ModelSummary| {
            let ellipse = model.ellipses.get(space);
            ellipse.map_or([f64::NAN; 2], |ellipse| ellipse.center)
        };
        let on_front = pareto_front(&models.iter().map(center).collect::<Vec<_>>());
        for (model, on_front) in models.iter_mut().zip(on_front) {
            *model.on_front.get_mut(space) = model.ellipses.get(space).map(|_| on_front);
        }
    }
    models
}

/// Whether a model's share of looping texts reaches [`looping::MARKED_SHARE`].
fn loops(evaluation: &Evaluation<'_>, model: usize) -> bool {
    let column = registry::column_index(looping::NAME).unwrap_or_default();
    let shares = evaluation.values(model, column);
    let shares: Vec<f64> = shares.into_iter().flatten().collect();
    !shares.is_empty() && mean(&shares) >= looping::MARKED_SHARE
}

/// The mean of each run over the prompts where the model has a value; empty for one run.
fn run_means(
    evaluation: &Evaluation<'_>,
    model: usize,
    column: usize,
    values: &[Option<f64>],
) -> Vec<f64> {
    let prompts = 0..values.len();
    let prompts: Vec<usize> = prompts.filter(|at| values[*at].is_some()).collect();
    evaluation.run_means(model, column, &prompts)
}

fn run_summary(run: &Run, measures: &[usize]) -> RunSummary {
    let value = |&measure: &usize| {
        let values: Vec<f64> = run.values(measure).into_iter().flatten().collect();
        let value = (!values.is_empty()).then(|| RunValue {
            mean: mean(&values),
            se: (values.len() > 1).then(|| se(&values)),
            prompts: values.len(),
        });
        (measure, value)
    };
    RunSummary {
        seed: run.seed.clone(),
        prompts: run.values.iter().flatten().count(),
        responses: run.responses,
        values: measures.iter().map(value).collect(),
    }
}

/// The clustered standard error of a value per text (reward or words); `None` for other columns.
fn clustered(cells: &[Option<ModelPrompt<'_>>], measure: usize) -> Option<f64> {
    let of_text = |text: &Text<'_>| match columns()[measure].name {
        REWARD => text.reward,
        WORDS => Some(text.words as f64),
        _ => None,
    };
    // Only prompts where every text has a value, as in the mean.
    let groups = cells.iter().flatten().filter_map(|cell| {
        let values = cell.texts.iter().map(of_text);
        values.collect::<Option<Vec<f64>>>()
    });
    let groups: Vec<Vec<f64>> = groups.filter(|values| !values.is_empty()).collect();
    let slices: Vec<&[f64]> = groups.iter().map(Vec::as_slice).collect();
    (slices.len() > 1).then(|| se_clustered(&slices))
}

/// The summary over the prompts where the measure is defined; `None` if there is none.
fn summary(
    values: &[Option<f64>],
    runs: &[f64],
    lengths: Option<&[Option<f64>]>,
    bootstrap: &BootstrapCache,
) -> Option<MeasureSummary> {
    let defined: Vec<f64> = values.iter().flatten().copied().collect();
    if defined.is_empty() {
        return None;
    }
    let n = defined.len();
    let two_level = TwoLevel::new(&defined, &[runs]).filter(|_| runs.len() > 1);
    let interval = match &two_level {
        Some(error) => Some(error.interval(mean(&defined))),
        None if n > 1 => bootstrap.indices(n).mean_interval(&defined),
        None => None,
    };
    let rho = lengths.and_then(|lengths| {
        let both = values
            .iter()
            .zip(lengths)
            .filter_map(|(a, b)| Some(((*a)?, (*b)?)));
        let (values, lengths): (Vec<f64>, Vec<f64>) = both.unzip();
        (values.len() > 2)
            .then(|| spearman(&values, &lengths))
            .flatten()
    });
    Some(MeasureSummary {
        mean: mean(&defined),
        se: two_level
            .map(|error| error.se)
            .or_else(|| (n > 1).then(|| se(&defined))),
        se_clustered: None,
        ci_low: interval.map(|interval| interval[0]),
        ci_high: interval.map(|interval| interval[1]),
        prompts: n,
        sd_runs: (runs.len() > 1).then(|| sd(runs)),
        length_rho: rho,
        length_p: rho.and_then(|rho| spearman_p(rho, n)),
    })
}

/// The mean of reward and diversity with its confidence ellipse, over the prompts where both are defined.
fn reward_and_diversity(
    evaluation: &Evaluation<'_>,
    model: usize,
    space: Space,
) -> Option<Ellipse> {
    let columns = [
        registry::column_index(REWARD)?,
        registry::column_index(space.name())?,
    ];
    let [reward, diversity] = columns.map(|column| evaluation.values(model, column));
    let both = reward.iter().zip(&diversity).enumerate();
    let both = both.filter_map(|(prompt, (x, y))| Some((prompt, ((*x)?, (*y)?))));
    let (prompts, (x, y)): (Vec<usize>, (Vec<f64>, Vec<f64>)) = both.unzip();
    let runs = columns.map(|column| evaluation.run_means(model, column, &prompts));
    // One or two prompts give a point without a confidence ellipse.
    let point = || Ellipse {
        center: [mean(&x), mean(&y)],
        half_axes: [0.0, 0.0],
        angle: 0.0,
    };
    (!x.is_empty()).then(|| ellipse_of_runs([&x, &y], [&runs[0], &runs[1]]).unwrap_or_else(point))
}

impl ModelSummary {
    /// The name for tables and plots, with a mark if its texts loop.
    pub fn marked_name(&self) -> String {
        let mark = if self.loops { " (loops)" } else { "" };
        format!("{}{mark}", self.name)
    }

    /// The summary of a column, by column name.
    pub fn value(&self, column: &str) -> Option<MeasureSummary> {
        let mut values = self.values.iter();
        values.find(|(at, _)| columns()[*at].name == column)?.1
    }
}
