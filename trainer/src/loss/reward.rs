//! What does a reward model pay for being wrong? Of one answer's votes, or of a pair's order.

use serde::{Deserialize, Serialize};

use super::{PairLoss, log_sigmoid, sigmoid};

/// What a reward model learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A response's votes: [`l1`].
    #[default]
    L1,
    /// Which of two is better: [`bradley_terry`].
    BradleyTerry,
}

/// `|given - target|` and its derivative (PyTorch: `L1Loss`); 0 where they are equal.
pub fn l1(given: f64, target: f64) -> (f64, f64) {
    let off = given - target;
    let slope = if off == 0.0 { 0.0 } else { off.signum() };
    (off.abs(), slope)
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
    fn distance_has_a_sign() {
        assert_eq!(l1(2.0, 1.5), (0.5, 1.0));
        assert_eq!(l1(-2.0, 1.5), (3.5, -1.0));
        assert_eq!(l1(1.0, 1.0), (0.0, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn derivatives_are_those_of_finite_differences(
            chosen in -20.0..20.0_f64,
            rejected in -20.0..20.0_f64,
        ) {
            prop_assert!(finite::agrees(bradley_terry, chosen, rejected));
        }
    }
}
