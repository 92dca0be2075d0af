//! EAD, expectation-adjusted distinct: `ead(text, n, vocabulary)`.

use super::distinct_n::counts;
use super::measure::{
    Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize, ngram_length,
};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "ead",
    function: Function::Texts(|texts, parameters| {
        ead(texts, parameters[0] as usize, parameters[1])
    }),
    parameters: &[
        ngram_length(1.0),
        Parameter {
            name: "vocabulary",
            default: VOCABULARY,
            range: ParamRange::AboveOne,
        },
    ],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "Different words over those expected among as many drawn from a vocabulary of 50,000.",
    columns: &[Column::new("ead", "EAD")],
};

/// The default size of the vocabulary.
pub const VOCABULARY: f64 = 50_000.0;

/// Expectation-adjusted distinct (Liu et al. 2022, equation 5): the number of unique n-grams over the number
/// expected if as many n-grams were sampled uniformly from a vocabulary of size `vocabulary`. Depends less
/// on length than [`super::distinct_n`]. `None` where no text has `n` words.
pub fn ead(texts: &[&str], n: usize, vocabulary: f64) -> Option<f64> {
    let (different, all) = counts(texts, n);
    let missed = ((vocabulary - 1.0) / vocabulary).powf(all as f64);
    (all > 0).then(|| different as f64 / (vocabulary * (1.0 - missed)))
}
