//! Do different models say the same? How far texts of two models to one prompt lie apart.

use serde::Serialize;

use crate::catalogue;
use crate::evaluate::{Cell, Evaluation, SPACES};
use crate::statistics::mean::mean;

/// How far two models' texts to the same prompt lie apart; a model and itself: within it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// To how many prompts both have texts.
    pub prompts: usize,
    /// The mean over prompts of the mean of 1 - cosine of all pairs across.
    pub distance: f64,
}

/// Every two models, and each with itself. Nothing where there are no vectors.
pub fn likenesses(evaluation: &Evaluation<'_>) -> Vec<Likeness> {
    let n = evaluation.models.len();
    let within = catalogue::index(SPACES[0]).unwrap_or_default();
    let pairs = (0..n).flat_map(|a| (a..n).map(move |b| (a, b)));
    let likeness = |(a, b): (usize, usize)| {
        let both = evaluation.cells[a].iter().zip(&evaluation.cells[b]);
        let distances: Vec<f64> = both
            .filter_map(|(one, other)| match (one.as_ref()?, other.as_ref()?) {
                (one, _) if a == b => one.values[within],
                (one, other) => across(one, other),
            })
            .collect();
        (!distances.is_empty()).then(|| Likeness {
            a: evaluation.models[a].clone(),
            b: evaluation.models[b].clone(),
            prompts: distances.len(),
            distance: mean(&distances),
        })
    };
    pairs.filter_map(likeness).collect()
}

/// 1 - the mean cosine of all pairs across, through the sums of unit vectors.
fn across(a: &Cell<'_>, b: &Cell<'_>) -> Option<f64> {
    let (one, other) = (a.sum.as_ref()?, b.sum.as_ref()?);
    let product: f64 = one.iter().zip(other).map(|(x, y)| x * y).sum();
    Some(1.0 - product / (a.texts.len() * b.texts.len()) as f64)
}
