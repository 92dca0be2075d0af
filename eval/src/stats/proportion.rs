//! Proportions: 95 % confidence intervals of a share of successes in independent trials.

use statrs::distribution::{Beta, ContinuousCDF, Normal};

/// The probability in each tail outside the interval.
const TAIL: f64 = 0.025;

/// Wilson's score interval (Wilson 1927; statsmodels: `proportion_confint`, `wilson`): the shares that a z-test
/// does not reject. Its coverage is close to 95 % on average, also for few trials. `None` without a trial.
pub fn wilson(successes: usize, trials: usize) -> Option<[f64; 2]> {
    if trials == 0 || successes > trials {
        return None;
    }
    let z = Normal::standard().inverse_cdf(1.0 - TAIL);
    let n = trials as f64;
    let share = successes as f64 / n;
    let scale = 1.0 + z * z / n;
    let center = (share + z * z / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    Some([(center - half).max(0.0), (center + half).min(1.0)])
}

/// The Clopper-Pearson interval (Clopper and Pearson 1934; scipy: `binomtest(..).proportion_ci("exact")`): the
/// shares that an exact binomial test does not reject. It excludes 1/2 exactly if the sign test of the same
/// counts has p < 0.05. Its coverage is at least 95 %. `None` without a trial.
pub fn clopper_pearson(successes: usize, trials: usize) -> Option<[f64; 2]> {
    if trials == 0 || successes > trials {
        return None;
    }
    let (won, lost) = (successes as f64, (trials - successes) as f64);
    let low = match successes {
        0 => 0.0,
        _ => beta_quantile(won, lost + 1.0, TAIL)?,
    };
    let high = match trials - successes {
        0 => 1.0,
        _ => beta_quantile(won + 1.0, lost, 1.0 - TAIL)?,
    };
    Some([low, high])
}

/// The quantile of the beta distribution, by bisection of its distribution function: statrs' own inverse stops
/// early for some parameters.
fn beta_quantile(a: f64, b: f64, probability: f64) -> Option<f64> {
    let beta = Beta::new(a, b).ok()?;
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    // Each step halves the interval: 60 steps reach the precision of f64.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beta.cdf(middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::stats::sign_test::binomial_test;

    /// The intervals of scipy and statsmodels.
    #[test]
    fn intervals_equal_those_of_scipy_and_statsmodels() {
        let golden = include_str!("../../../tests/fixtures/study_intervals.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let counts = golden["counts"].as_array().unwrap();
        assert!(counts.len() > 10);
        for entry in counts {
            let count = |name: &str| entry[name].as_u64().unwrap() as usize;
            let (won, trials) = (count("won"), count("trials"));
            let both = [
                ("wilson", wilson(won, trials).unwrap()),
                ("clopper_pearson", clopper_pearson(won, trials).unwrap()),
            ];
            for (name, ours) in both {
                for (ours, theirs) in ours.into_iter().zip(entry[name].as_array().unwrap()) {
                    let theirs = theirs.as_f64().unwrap();
                    let message = format!("{name} of {won} in {trials}: {ours} is not {theirs}");
                    assert!((ours - theirs).abs() < 1e-10, "{message}");
                }
            }
            let (p, theirs) = (
                binomial_test(won, trials - won),
                entry["p_sign"].as_f64().unwrap(),
            );
            assert!((p - theirs).abs() <= 1e-9 * theirs, "{p} is not {theirs}");
        }
        assert_eq!((wilson(0, 0), clopper_pearson(0, 0)), (None, None));
        assert_eq!(clopper_pearson(2, 1), None);
    }

    #[test]
    fn exact_interval_excludes_one_half_where_the_sign_test_rejects() {
        for trials in 1..60 {
            for won in 0..=trials {
                let [low, high] = clopper_pearson(won, trials).unwrap();
                let rejects = binomial_test(won, trials - won) < 0.05;
                assert_eq!(rejects, low > 0.5 || high < 0.5, "{won} of {trials}");
            }
        }
    }
}
