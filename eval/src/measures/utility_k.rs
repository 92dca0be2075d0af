//! `utility_k(class, utility, patience)`: what a set of texts is worth to a reader (`NoveltyBench`).

use super::distinct_k::first_of_class;
use super::measure::{Column, Direction, Function, Group, Measure, ParamRange, Parameter, SetSize};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "utility_k",
    function: Function::ClassesAndUtilities(|classes, utilities, parameters| {
        utility_k(classes, utilities, parameters[0])
    }),
    parameters: &[Parameter {
        name: "patience",
        default: PATIENCE,
        range: ParamRange::BelowOne,
    }],
    group: Group::Reward,
    size: SetSize::OfSet,
    direction: Direction::Higher,
    description: "NoveltyBench's utility_k: what texts that open a class are worth to a reader of patience 0.8; n/a where rewards fall below 0.",
    columns: &[Column::new("utility_k", "Utility")],
};

/// The default patience: the probability that a reader asks for one more text.
pub const PATIENCE: f64 = 0.8;

/// (1 - p) / (1 - p^k) times the sum of `p^(i-1) u_i` over the texts that are the first of their class, where p
/// is the patience and `u_i` the utility of text i (`NoveltyBench`, equation 3). `None` without a text.
pub fn utility_k(classes: &[i64], utilities: &[f64], patience: f64) -> Option<f64> {
    let k = classes.len();
    let scores = first_of_class(classes)
        .zip(utilities)
        .map(|(new, utility)| if new { *utility } else { 0.0 });
    let sum: f64 = (0..)
        .zip(scores)
        .map(|(i, score)| patience.powi(i) * score)
        .sum();
    (k > 0).then(|| (1.0 - patience) / (1.0 - patience.powi(k as i32)) * sum)
}

/// `NoveltyBench`'s utility, 1 to 10, of a reward of Skywork-Reward-Gemma-2-27B-v0.2.
pub fn of_skywork(reward: f64) -> f64 {
    const STEPS: [f64; 9] = [
        -7.71875, -6.28125, -6.0, -5.71875, -5.5, -5.0, -4.375, -3.4375, -2.046_875,
    ];
    1.0 + STEPS.iter().filter(|step| **step < reward).count() as f64
}
