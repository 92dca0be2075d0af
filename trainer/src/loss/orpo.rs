//! ORPO (Hong et al. 2024): the odds ratio of the chosen and the rejected response.

use super::{PairLoss, log_sigmoid, sigmoid};

/// The log odds `log(p / (1 - p))` of a mean log-probability, and their derivative.
///
/// At `p = 1` they are infinite: log-probabilities are clamped to at most `-1e-9`.
pub fn log_odds(mean_logps: f64) -> (f64, f64) {
    let x = mean_logps.min(-1e-9);
    (x - log1mexp(x), -1.0 / x.exp_m1())
}

/// `log(1 - exp(x))` for `x < 0`, without cancellation (Maechler 2012; branch at `-ln 2`).
pub fn log1mexp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 {
        (-x.exp_m1()).ln()
    } else {
        (-x.exp()).ln_1p()
    }
}

/// The odds ratio term `-log sigmoid(factor * z)`, `z` the log odds ratio of the chosen and the rejected
/// response, and its derivatives by their mean log-probabilities. `factor` is the weight in the published
/// DORPO code; otherwise it is 1.
pub fn odds_ratio(chosen_mean: f64, rejected_mean: f64, factor: f64) -> PairLoss {
    let ((chosen, d_chosen), (rejected, d_rejected)) =
        (log_odds(chosen_mean), log_odds(rejected_mean));
    let z = chosen - rejected;
    let slope = -factor * sigmoid(-factor * z);
    PairLoss {
        loss: -log_sigmoid(factor * z),
        chosen: slope * d_chosen,
        rejected: -slope * d_rejected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::finite;
    use super::*;

    #[test]
    fn log_odds_near_certainty_are_finite() {
        for mean in [0.0, -1e-300, -1e-12, -1e-9, -700.0, -1e6] {
            let (odds, slope) = log_odds(mean);
            assert!(
                odds.is_finite() && slope.is_finite(),
                "{mean}: {odds} {slope}"
            );
        }
        // p = 1/2 has odds 1.
        assert!(log_odds(0.5_f64.ln()).0.abs() < 1e-15);
    }

    #[test]
    fn log1mexp_is_continuous_at_its_branch() {
        let edge = -std::f64::consts::LN_2;
        assert!((log1mexp(edge + 1e-12) - log1mexp(edge - 1e-12)).abs() < 1e-11);
        assert!((log1mexp(-1e-8) - (1e-8_f64).ln()).abs() < 1e-8);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn derivatives_match_finite_differences(
            chosen in -9.0..-0.01_f64,
            rejected in -9.0..-0.01_f64,
            factor in 0.0..4.0_f64,
        ) {
            let loss = |c: f64, r: f64| odds_ratio(c, r, factor);
            prop_assert!(finite::agrees(loss, chosen, rejected));
        }
    }
}
