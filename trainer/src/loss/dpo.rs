//! DPO (Rafailov et al. 2023) and its kin: how much likelier the policy makes each answer than its
//! reference does.

use serde::{Deserialize, Serialize};

use super::{PairLoss, log_sigmoid, sigmoid};

/// What is done with the margin `h`, TRL's `loss_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `-log sigmoid(beta * h)`; with label smoothing `s`, `-(1 - s) log sigmoid(beta * h) - s log
    /// sigmoid(-beta * h)` (Mitchell 2023).
    #[default]
    Sigmoid,
    /// `(h - 1 / (2 beta))^2` with log-probabilities a token (Azar et al. 2023, as TRL averages).
    Ipo,
    /// `max(0, 1 - beta * h)` (SLiC, Zhao et al. 2023).
    Hinge,
}

/// An answer's log-probabilities, summed over its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequenceLogps {
    /// By the policy.
    pub logps: f64,
    /// By its reference.
    pub ref_logps: f64,
    /// Over how many tokens.
    pub tokens: usize,
}

impl SequenceLogps {
    /// How much likelier the policy makes it: its reward is `beta` times this.
    pub fn log_ratio(&self) -> f64 {
        self.logps - self.ref_logps
    }
}

/// The loss of a pair, `h = log_ratio(chosen) - log_ratio(rejected)`, and its derivatives by the
/// policy's `logps`.
pub fn dpo(
    chosen: &SequenceLogps,
    rejected: &SequenceLogps,
    beta: f64,
    kind: Kind,
    label_smoothing: f64,
) -> PairLoss {
    let h = chosen.log_ratio() - rejected.log_ratio();
    match kind {
        Kind::Sigmoid => {
            let (kept, turned) = (1.0 - label_smoothing, label_smoothing);
            let slope = -kept * beta * sigmoid(-beta * h) + turned * beta * sigmoid(beta * h);
            PairLoss {
                loss: -kept * log_sigmoid(beta * h) - turned * log_sigmoid(-beta * h),
                chosen: slope,
                rejected: -slope,
            }
        }
        Kind::Ipo => {
            let (c, r) = (chosen.tokens.max(1) as f64, rejected.tokens.max(1) as f64);
            let off = chosen.log_ratio() / c - rejected.log_ratio() / r - 0.5 / beta;
            PairLoss {
                loss: off * off,
                chosen: 2.0 * off / c,
                rejected: -2.0 * off / r,
            }
        }
        Kind::Hinge => {
            let short = 1.0 - beta * h;
            let slope = if short > 0.0 { -beta } else { 0.0 };
            PairLoss {
                loss: short.max(0.0),
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

    fn answer(logps: f64, ref_logps: f64, tokens: usize) -> SequenceLogps {
        SequenceLogps {
            logps,
            ref_logps,
            tokens,
        }
    }

    #[test]
    fn without_a_margin_it_is_the_logarithm_of_two() {
        let same = answer(-3.0, -3.0, 2);
        let loss = dpo(&same, &same, 0.1, Kind::Sigmoid, 0.0);
        assert!((loss.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(loss.chosen, -0.05);
        assert_eq!(loss.rejected, 0.05);
    }

    #[test]
    fn values_are_those_of_trl() {
        // By TRL 1.16's formulas (`DPOTrainer`), beta 0.1, in f64: h = 1.5 + 1.25.
        let (chosen, rejected) = (answer(-12.5, -14.0, 10), answer(-9.25, -8.0, 4));
        let value = |kind, smoothing| dpo(&chosen, &rejected, 0.1, kind, smoothing).loss;
        for (given, known) in [
            (value(Kind::Sigmoid, 0.2), 0.620_070_667_689_600_2),
            (value(Kind::Hinge, 0.0), 0.725),
            (value(Kind::Ipo, 0.0), 20.588_906_25),
        ] {
            assert!((given - known).abs() < 1e-12, "{given} {known}");
        }
    }

    #[test]
    fn huge_margins_stay_finite() {
        for h in [-1e6, 1e6] {
            let (chosen, rejected) = (answer(h, 0.0, 9), answer(0.0, 0.0, 9));
            for kind in [Kind::Sigmoid, Kind::Ipo, Kind::Hinge] {
                let loss = dpo(&chosen, &rejected, 0.1, kind, 0.1);
                assert!(
                    loss.loss.is_finite() && loss.chosen.is_finite(),
                    "{kind:?} {h}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn derivatives_are_those_of_finite_differences(
            chosen in -300.0..-1.0_f64,
            rejected in -300.0..-1.0_f64,
            references in (-300.0..-1.0_f64, -300.0..-1.0_f64),
            tokens in (1_usize..400, 1_usize..400),
            beta in 0.01..0.5_f64,
            smoothing in 0.0..0.4_f64,
        ) {
            for kind in [Kind::Sigmoid, Kind::Ipo, Kind::Hinge] {
                // Where the hinge bends there is no slope.
                let h = chosen - references.0 - rejected + references.1;
                if kind == Kind::Hinge && (1.0 - beta * h).abs() < 0.1 {
                    continue;
                }
                let loss = |c: f64, r: f64| {
                    let chosen = answer(c, references.0, tokens.0);
                    dpo(&chosen, &answer(r, references.1, tokens.1), beta, kind, smoothing)
                };
                prop_assert!(finite::agrees(loss, chosen, rejected), "{kind:?}");
            }
        }
    }
}
