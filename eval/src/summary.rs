//! What does a measure say of a model? Its mean over prompts, how sure, and how much of it is length.

use serde::Serialize;

use crate::catalogue::{self, MEASURES};
use crate::evaluate::{Evaluation, ModelPrompt, SPACES, Text};
use crate::outputs::GOLD;
use crate::statistics::bootstrap::BootstrapCache;
use crate::statistics::clustered::se_clustered;
use crate::statistics::correlation::{spearman, spearman_p};
use crate::statistics::ellipse::{Ellipse, ellipse};
use crate::statistics::mean::{mean, se};
use crate::statistics::pareto::front;

/// A model.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Whether people wrote these texts.
    pub gold: bool,
    /// To how many prompts it has texts.
    pub prompts: usize,
    /// How many texts of it count.
    pub responses: usize,
    /// A value a measure, in the order of the report's measures; none where undefined.
    #[serde(serialize_with = "crate::report::by_measure")]
    pub values: Vec<(usize, Option<Value>)>,
    /// Whether no other model has more reward and more diversity, by space.
    #[serde(serialize_with = "crate::report::by_space")]
    pub on_front: [Option<bool>; 2],
    /// The mean of reward and diversity with its 95 % ellipse, by space.
    #[serde(serialize_with = "crate::report::by_space")]
    pub ellipses: [Option<Ellipse>; 2],
}

/// A measure's mean over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Value {
    /// The mean over prompts.
    pub mean: f64,
    /// Its standard error: a prompt is one draw.
    pub se: Option<f64>,
    /// Of what each text has of its own, the standard error of the mean over texts, clustered by prompt:
    /// as `se` where every prompt has as many texts.
    pub se_clustered: Option<f64>,
    /// The bootstrap's 95 % interval over prompts.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Over how many prompts.
    pub prompts: usize,
    /// Spearman's rho with the texts' mean number of words, over prompts.
    pub length_rho: Option<f64>,
    /// How likely so large a rho is by chance.
    pub length_p: Option<f64>,
}

/// Sums up every model.
pub fn models(evaluation: &Evaluation<'_>, redraws: &BootstrapCache) -> Vec<Model> {
    let measures = evaluation.measures();
    let words = catalogue::index("words").unwrap_or_default();
    let mut models: Vec<Model> = evaluation
        .models
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let lengths = evaluation.values(at, words);
            let value = |&measure: &usize| {
                let values = evaluation.values(at, measure);
                let lengths = (measure != words).then_some(lengths.as_slice());
                let found = value(&values, lengths, redraws);
                let clustered = clustered(&evaluation.cells[at], measure);
                let with = |found| Value {
                    se_clustered: clustered,
                    ..found
                };
                (measure, found.map(with))
            };
            let cells = evaluation.cells[at].iter().flatten();
            Model {
                name: name.clone(),
                gold: name == GOLD,
                prompts: cells.clone().count(),
                responses: cells.map(|cell| cell.texts.len()).sum(),
                values: measures.iter().map(value).collect(),
                on_front: [None, None],
                ellipses: [0, 1].map(|space| plane(evaluation, at, space)),
            }
        })
        .collect();
    for space in 0..SPACES.len() {
        let center = |model: &Model| model.ellipses[space].map_or([f64::NAN; 2], |e| e.center);
        let on_front = front(&models.iter().map(center).collect::<Vec<_>>());
        for (model, on_front) in models.iter_mut().zip(on_front) {
            model.on_front[space] = model.ellipses[space].map(|_| on_front);
        }
    }
    models
}

/// The clustered standard error of what every text has of its own: a reward, or words.
fn clustered(cells: &[Option<ModelPrompt<'_>>], measure: usize) -> Option<f64> {
    let of_text = |text: &Text<'_>| match MEASURES[measure].name {
        "reward" => text.reward,
        "words" => Some(text.words as f64),
        _ => None,
    };
    // Over the prompts that the mean is over: those where every text has a value.
    let groups = cells.iter().flatten().filter_map(|cell| {
        let values = cell.texts.iter().map(of_text);
        values.collect::<Option<Vec<f64>>>()
    });
    let groups: Vec<Vec<f64>> = groups.filter(|values| !values.is_empty()).collect();
    let slices: Vec<&[f64]> = groups.iter().map(Vec::as_slice).collect();
    (slices.len() > 1).then(|| se_clustered(&slices))
}

/// A mean over the prompts where the measure is defined.
fn value(
    values: &[Option<f64>],
    lengths: Option<&[Option<f64>]>,
    redraws: &BootstrapCache,
) -> Option<Value> {
    let defined: Vec<f64> = values.iter().flatten().copied().collect();
    if defined.is_empty() {
        return None;
    }
    let n = defined.len();
    let interval = (n > 1).then(|| redraws.of(n).interval(&defined)).flatten();
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
    Some(Value {
        mean: mean(&defined),
        se: (n > 1).then(|| se(&defined)),
        se_clustered: None,
        low: interval.map(|interval| interval[0]),
        high: interval.map(|interval| interval[1]),
        prompts: n,
        length_rho: rho,
        length_p: rho.and_then(|rho| spearman_p(rho, n)),
    })
}

/// Where a model lies between reward and diversity: over the prompts where both are defined.
fn plane(evaluation: &Evaluation<'_>, model: usize, space: usize) -> Option<Ellipse> {
    let reward = evaluation.values(model, catalogue::index("reward")?);
    let diversity = evaluation.values(model, catalogue::index(SPACES[space])?);
    let both = reward
        .iter()
        .zip(&diversity)
        .filter_map(|(x, y)| Some(((*x)?, (*y)?)));
    let (x, y): (Vec<f64>, Vec<f64>) = both.unzip();
    // Of one or two prompts there is a point, and nothing is known of how sure it is.
    let point = || Ellipse {
        center: [mean(&x), mean(&y)],
        half_axes: [0.0, 0.0],
        angle: 0.0,
    };
    (!x.is_empty()).then(|| ellipse(&x, &y).unwrap_or_else(point))
}

/// The value of a measure, by name.
pub fn of(model: &Model, measure: &str) -> Option<Value> {
    let found = model
        .values
        .iter()
        .find(|(at, _)| MEASURES[*at].name == measure)?;
    found.1
}
