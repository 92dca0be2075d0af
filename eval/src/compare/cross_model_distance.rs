//! Cross-model distance: the mean cosine distance between texts of two models to the same prompt.

use serde::Serialize;

use crate::evaluation::{Evaluation, ModelPrompt};
use crate::measures::registry::column_index;
use crate::space::Space;
use crate::stats::bootstrap::BootstrapCache;
use crate::stats::mean::mean;

/// The mean cosine distance between texts of two models to the same prompt; where `a` equals `b`, between
/// the texts of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossModelDistance {
    /// The embedding space: `semantic` or `style`.
    pub space: &'static str,
    /// The first model.
    pub a: String,
    /// The second model; equal to `a` for the distance within a model.
    pub b: String,
    /// The number of prompts that the mean is over.
    pub prompts: usize,
    /// The mean over prompts of the mean of 1 - cosine over all pairs of a text of `a` and a text of `b`.
    pub distance: f64,
    /// The lower end of the 95 % bootstrap-t confidence interval over prompts; it does not count runs.
    pub ci_low: Option<f64>,
    /// The upper end of that confidence interval.
    pub ci_high: Option<f64>,
}

/// The distance of every pair of models, and of each model with itself, by space. If some prompts are
/// answered by all models, only those count, so that the numbers are comparable. Empty for a space
/// without embeddings.
pub fn cross_model_distances(
    evaluation: &Evaluation<'_>,
    bootstrap: &BootstrapCache,
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
    let pairs = Space::ALL
        .into_iter()
        .flat_map(|space| pairs.clone().map(move |pair| (space, pair)));
    let distance = |(space, (a, b)): (Space, (usize, usize))| {
        let within = column_index(space.name())?;
        let at_prompt = |&prompt: &usize| {
            let of = |model: usize| evaluation.cells[model][prompt].as_ref();
            match (of(a)?, of(b)?) {
                (one, _) if a == b => one.sums.get(space).as_ref().and(one.values[within]),
                (one, other) => across(one, other, space),
            }
        };
        let distances: Vec<f64> = prompts.iter().filter_map(at_prompt).collect();
        let n = distances.len();
        let interval = (n > 1)
            .then(|| bootstrap.indices(n).mean_interval(&distances))
            .flatten();
        (n > 0).then(|| CrossModelDistance {
            space: space.name(),
            a: evaluation.models[a].clone(),
            b: evaluation.models[b].clone(),
            prompts: n,
            distance: mean(&distances),
            ci_low: interval.map(|interval| interval[0]),
            ci_high: interval.map(|interval| interval[1]),
        })
    };
    pairs.filter_map(distance).collect()
}

/// 1 - the mean cosine over all pairs of a text of one model and a text of the other, computed from the
/// sums of unit vectors. Two zero vectors have cosine 1, as in [`crate::cosines`].
fn across(a: &ModelPrompt<'_>, b: &ModelPrompt<'_>, space: Space) -> Option<f64> {
    let (one, other) = (a.sums.get(space).as_ref()?, b.sums.get(space).as_ref()?);
    let product: f64 = one.sum.iter().zip(&other.sum).map(|(x, y)| x * y).sum();
    let alike = product + (one.zeros * other.zeros) as f64;
    Some(1.0 - alike / (a.texts.len() * b.texts.len()) as f64)
}
