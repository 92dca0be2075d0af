//! Mean reward: `mean_reward(reward)`.

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};
use crate::stats::mean::mean;

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "mean_reward",
    function: Function::Rewards(|rewards, _| mean_reward(rewards)),
    parameters: &[],
    group: Group::Reward,
    size: SetSize::MeanOverTexts,
    direction: Direction::Higher,
    description: "The mean reward of the texts.",
    columns: &[Column::new("reward", "Reward")],
};

/// The mean of the rewards. `None` without a reward.
pub fn mean_reward(rewards: &[f64]) -> Option<f64> {
    (!rewards.is_empty()).then(|| mean(rewards))
}
