//! Do different models say the same? How far texts of two models to one prompt lie apart.

use serde::Serialize;

use crate::catalogue;
use crate::evaluate::{Evaluation, ModelPrompt, SPACES};
use crate::statistics::bootstrap::BootstrapCache;
use crate::statistics::mean::mean;

/// How far two models' texts to the same prompt lie apart; a model and itself: within it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossModelDistance {
    /// Which embeddings say so.
    pub space: &'static str,
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Over how many prompts.
    pub prompts: usize,
    /// The mean over prompts of the mean of 1 - cosine of all pairs across.
    pub distance: f64,
    /// The bootstrap's 95 % interval over prompts.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
}

/// Every two models, and each with itself, by space. Over the prompts that all models answered, where
/// there are any: only then do the numbers compare. Nothing where there are no vectors.
pub fn cross_model_distances(
    evaluation: &Evaluation<'_>,
    redraws: &BootstrapCache,
) -> Vec<CrossModelDistance> {
    let n = evaluation.models.len();
    let all_answered = |prompt: &usize| evaluation.cells.iter().all(|row| row[*prompt].is_some());
    let prompts = 0..evaluation.prompts.len();
    let common: Vec<usize> = prompts.clone().filter(all_answered).collect();
    let prompts = if common.is_empty() {
        prompts.collect()
    } else {
        common
    };
    let pairs = (0..n).flat_map(|a| (a..n).map(move |b| (a, b)));
    let pairs = (0..SPACES.len()).flat_map(|space| pairs.clone().map(move |pair| (space, pair)));
    let likeness = |(space, (a, b)): (usize, (usize, usize))| {
        let within = catalogue::index(SPACES[space])?;
        let distance = |&prompt: &usize| {
            let of = |model: usize| evaluation.cells[model][prompt].as_ref();
            match (of(a)?, of(b)?) {
                (one, _) if a == b => one.sums[space].as_ref().and(one.values[within]),
                (one, other) => across(one, other, space),
            }
        };
        let distances: Vec<f64> = prompts.iter().filter_map(distance).collect();
        let n = distances.len();
        let interval = (n > 1)
            .then(|| redraws.of(n).interval(&distances))
            .flatten();
        (n > 0).then(|| CrossModelDistance {
            space: SPACES[space],
            a: evaluation.models[a].clone(),
            b: evaluation.models[b].clone(),
            prompts: n,
            distance: mean(&distances),
            low: interval.map(|interval| interval[0]),
            high: interval.map(|interval| interval[1]),
        })
    };
    pairs.filter_map(likeness).collect()
}

/// 1 - the mean cosine of all pairs across, through the sums of unit vectors; texts of nothing are
/// alike, as within a model.
fn across(a: &ModelPrompt<'_>, b: &ModelPrompt<'_>, space: usize) -> Option<f64> {
    let (one, other) = (a.sums[space].as_ref()?, b.sums[space].as_ref()?);
    let product: f64 = one.sum.iter().zip(&other.sum).map(|(x, y)| x * y).sum();
    let alike = product + (one.zeros * other.zeros) as f64;
    Some(1.0 - alike / (a.texts.len() * b.texts.len()) as f64)
}
