//! DPO (Rafailov et al. 2023), IPO and the hinge loss: losses of the margin between the log-ratios of two
//! responses.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{PairLoss, log_sigmoid, sigmoid};

/// The loss function of the margin `h` (TRL: `loss_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum DpoLoss {
    /// DPO: -log sigmoid(beta * h)
    ///
    /// With label smoothing `s`, `-(1 - s) log sigmoid(beta * h) - s log
    /// sigmoid(-beta * h)` (Mitchell 2023).
    #[default]
    Sigmoid,
    /// IPO: (h - 1 / (2 beta))^2
    ///
    /// With log-probabilities averaged over tokens (Azar et al. 2023, as TRL averages).
    Ipo,
    /// SLiC: max(0, 1 - beta * h)
    ///
    /// Zhao et al. 2023.
    Hinge,
}

impl DpoLoss {
    /// The name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Ipo => "ipo",
            Self::Hinge => "hinge",
        }
    }
}

/// A response's log-probabilities, in nats, summed over its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequenceLogps {
    /// The policy's log-probability.
    pub logps: f64,
    /// The reference model's log-probability.
    pub ref_logps: f64,
    /// The number of tokens, for the mean of [`DpoLoss::Ipo`].
    pub tokens: usize,
}

impl SequenceLogps {
    /// `log(policy / reference)`; the implicit reward is `beta` times this.
    pub fn log_ratio(&self) -> f64 {
        self.logps - self.ref_logps
    }
}

/// The loss of a pair, `h = log_ratio(chosen) - log_ratio(rejected)`, and its derivatives by the
/// policy's `logps`. `label_smoothing` applies to [`DpoLoss::Sigmoid`] only.
pub fn dpo(
    chosen: &SequenceLogps,
    rejected: &SequenceLogps,
    beta: f64,
    loss_type: DpoLoss,
    label_smoothing: f64,
) -> PairLoss {
    let h = chosen.log_ratio() - rejected.log_ratio();
    match loss_type {
        DpoLoss::Sigmoid => {
            let (correct, swapped) = (1.0 - label_smoothing, label_smoothing);
            let slope = -correct * beta * sigmoid(-beta * h) + swapped * beta * sigmoid(beta * h);
            PairLoss {
                loss: -correct * log_sigmoid(beta * h) - swapped * log_sigmoid(-beta * h),
                chosen: slope,
                rejected: -slope,
            }
        }
        DpoLoss::Ipo => {
            let (c, r) = (chosen.tokens.max(1) as f64, rejected.tokens.max(1) as f64);
            let distance = chosen.log_ratio() / c - rejected.log_ratio() / r - 0.5 / beta;
            PairLoss {
                loss: distance * distance,
                chosen: 2.0 * distance / c,
                rejected: -2.0 * distance / r,
            }
        }
        DpoLoss::Hinge => {
            let shortfall = 1.0 - beta * h;
            let slope = if shortfall > 0.0 { -beta } else { 0.0 };
            PairLoss {
                loss: shortfall.max(0.0),
                chosen: slope,
                rejected: -slope,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::finite;
    use super::*;

    fn sequence(logps: f64, ref_logps: f64, tokens: usize) -> SequenceLogps {
        SequenceLogps {
            logps,
            ref_logps,
            tokens,
        }
    }

    #[test]
    fn loss_without_a_margin_is_log_2() {
        let same = sequence(-3.0, -3.0, 2);
        let loss = dpo(&same, &same, 0.1, DpoLoss::Sigmoid, 0.0);
        assert!((loss.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(loss.chosen, -0.05);
        assert_eq!(loss.rejected, 0.05);
    }

    #[test]
    fn losses_match_trl() {
        // By TRL 1.16's formulas (`DPOTrainer`), beta 0.1, in f64: h = 1.5 + 1.25.
        let (chosen, rejected) = (sequence(-12.5, -14.0, 10), sequence(-9.25, -8.0, 4));
        let value = |loss_type, smoothing| dpo(&chosen, &rejected, 0.1, loss_type, smoothing).loss;
        for (actual, expected) in [
            (value(DpoLoss::Sigmoid, 0.2), 0.620_070_667_689_600_2),
            (value(DpoLoss::Hinge, 0.0), 0.725),
            (value(DpoLoss::Ipo, 0.0), 20.588_906_25),
        ] {
            assert!((actual - expected).abs() < 1e-12, "{actual} {expected}");
        }
    }

    #[test]
    fn large_margins_give_finite_losses() {
        for h in [-1e6, 1e6] {
            let (chosen, rejected) = (sequence(h, 0.0, 9), sequence(0.0, 0.0, 9));
            for loss_type in [DpoLoss::Sigmoid, DpoLoss::Ipo, DpoLoss::Hinge] {
                let loss = dpo(&chosen, &rejected, 0.1, loss_type, 0.1);
                assert!(
                    loss.loss.is_finite() && loss.chosen.is_finite(),
                    "{loss_type:?} {h}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn derivatives_match_finite_differences(
            chosen in -300.0..-1.0_f64,
            rejected in -300.0..-1.0_f64,
            references in (-300.0..-1.0_f64, -300.0..-1.0_f64),
            tokens in (1_usize..400, 1_usize..400),
            beta in 0.01..0.5_f64,
            smoothing in 0.0..0.4_f64,
        ) {
            for loss_type in [DpoLoss::Sigmoid, DpoLoss::Ipo, DpoLoss::Hinge] {
                // The hinge has no derivative at its kink.
                let h = chosen - references.0 - rejected + references.1;
                if loss_type == DpoLoss::Hinge && (1.0 - beta * h).abs() < 0.1 {
                    continue;
                }
                let loss = |c: f64, r: f64| {
                    let chosen = sequence(c, references.0, tokens.0);
                    dpo(&chosen, &sequence(r, references.1, tokens.1), beta, loss_type, smoothing)
                };
                prop_assert!(finite::agrees(loss, chosen, rejected), "{loss_type:?}");
            }
        }
    }
}
