//! Reward model losses: L1 on scores, Bradley-Terry on pairs.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{PairLoss, log_sigmoid, sigmoid};

/// The loss of a reward model, which decides whether it is trained on scores or on pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RewardLoss {
    /// Absolute error of the score, on responses with scores
    #[default]
    L1,
    /// -log sigmoid(chosen - rejected), on pairs
    BradleyTerry,
}

/// `|reward - target|` and its derivative by the reward, 0 at equality (PyTorch: `L1Loss`).
pub fn l1(reward: f64, target: f64) -> (f64, f64) {
    let error = reward - target;
    let slope = if error == 0.0 { 0.0 } else { error.signum() };
    (error.abs(), slope)
}

/// `-log sigmoid(chosen - rejected)` (Bradley and Terry 1952), and its derivatives.
pub fn bradley_terry(chosen: f64, rejected: f64) -> PairLoss {
    let slope = -sigmoid(rejected - chosen);
    PairLoss {
        loss: -log_sigmoid(chosen - rejected),
        chosen: slope,
        rejected: -slope,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::finite;
    use super::*;

    #[test]
    fn l1_and_its_derivative() {
        assert_eq!(l1(2.0, 1.5), (0.5, 1.0));
        assert_eq!(l1(-2.0, 1.5), (3.5, -1.0));
        assert_eq!(l1(1.0, 1.0), (0.0, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn derivatives_match_finite_differences(
            chosen in -20.0..20.0_f64,
            rejected in -20.0..20.0_f64,
        ) {
            prop_assert!(finite::agrees(bradley_terry, chosen, rejected));
        }
    }
}
