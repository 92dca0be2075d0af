//! Rate ratio: how many times more frequent a term is on side A, with the interval that inverts the exchange test.

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::{PromptCounts, p_greater, p_less};

/// The probability in each tail outside the interval.
const TAIL: f64 = 0.025;
/// Logarithms of rate ratios beyond this bound count as 0 or infinite.
const MAX_LOG: f64 = 25.0;

/// The precision of the ends of an interval: of the logarithm, so it is relative.
const PRECISION: f64 = 1e-8;

/// The rate ratio r at which the expected occurrences on side A, given those of both sides, are the observed ones:
/// the sum of (a + b) r w / (r w + 1 - w) is the sum of a (the conditional maximum-likelihood estimate of Poisson
/// counts stratified by prompt). 0 if side A has none; `None` if side B has none, so that the ratio is infinite.
pub fn rate_ratio(prompts: &[PromptCounts]) -> Option<f64> {
    let a: f64 = prompts.iter().map(|counts| counts.a).sum();
    let b: f64 = prompts.iter().map(|counts| counts.b).sum();
    if b == 0.0 || a == 0.0 {
        return (a == 0.0 && b > 0.0).then_some(0.0);
    }
    let excess = |log: f64| {
        let ratio = log.exp();
        let expected = prompts.iter().map(|counts| {
            let share = ratio * counts.share;
            (counts.a + counts.b) * share / (share + 1.0 - counts.share)
        });
        expected.sum::<f64>() - a
    };
    Some(root(excess, -MAX_LOG, MAX_LOG, 1e-12).exp())
}

/// The 95 % confidence interval of the rate ratio: the ratios that neither one-sided exchange test rejects at
/// 2.5 %. `None` as upper end: infinite.
pub fn interval(prompts: &[PromptCounts]) -> (f64, Option<f64>) {
    let tail = normal_quantile(TAIL);
    // p is close to a normal distribution function of the logarithm: its quantile is close to a line.
    let rejects = |p: f64| normal_quantile(p) - tail;
    let estimate = rate_ratio(prompts).map(f64::ln);
    let low = match estimate {
        Some(f64::NEG_INFINITY) => 0.0,
        estimate => {
            let above = |log: f64| rejects(p_greater(prompts, log.exp()));
            let end = estimate.unwrap_or(MAX_LOG);
            root(above, lower_bracket(above, end), end, PRECISION).exp()
        }
    };
    let high = estimate.map(|estimate| {
        let start = if estimate.is_finite() {
            estimate
        } else {
            -MAX_LOG
        };
        let below = |log: f64| -rejects(p_less(prompts, log.exp()));
        root(below, start, upper_bracket(below, start), PRECISION).exp()
    });
    (low, high)
}

/// The quantile of the standard normal distribution; infinite for probabilities of 0 and 1.
fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        f64::NEG_INFINITY
    } else if p < 1.0 {
        Normal::standard().inverse_cdf(p)
    } else {
        f64::INFINITY
    }
}

/// A logarithm below `from` at which `f` is negative.
fn lower_bracket(f: impl Fn(f64) -> f64, from: f64) -> f64 {
    let mut step = 0.5;
    let mut at = from - step;
    while f(at) >= 0.0 && at > -MAX_LOG {
        step *= 2.0;
        at -= step;
    }
    at
}

/// A logarithm above `from` at which `f` is positive.
fn upper_bracket(f: impl Fn(f64) -> f64, from: f64) -> f64 {
    -lower_bracket(|at| -f(-at), -from)
}

/// The point between `low`, where the increasing function `f` is negative, and `high`, where it is positive: the
/// Illinois method (regula falsi with halved ends), and bisection where a value is infinite, up to `precision`.
fn root(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64, precision: f64) -> f64 {
    let (mut at_low, mut at_high) = (f(low), f(high));
    let mut was_negative = None;
    for _ in 0..200 {
        if high - low < precision {
            break;
        }
        let line = (low * at_high - high * at_low) / (at_high - at_low);
        let middle = if line > low && line < high {
            line
        } else {
            f64::midpoint(low, high)
        };
        let value = f(middle);
        if value == 0.0 {
            return middle;
        }
        // An end that stays a second time counts half, so that both ends move.
        let is_negative = value < 0.0;
        let stays = was_negative == Some(is_negative);
        if is_negative {
            (low, at_low) = (middle, value);
            at_high /= if stays { 2.0 } else { 1.0 };
        } else {
            (high, at_high) = (middle, value);
            at_low /= if stays { 2.0 } else { 1.0 };
        }
        was_negative = Some(is_negative);
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use polyphony_io::random::SplitMix64;
    use serde_json::Value;

    use super::*;

    /// Estimates and intervals that a script computes by bisection of sums over all exchanges
    /// (`tests/peers/overused_terms.py`).
    #[test]
    fn intervals_equal_those_of_all_exchanges() {
        let golden = include_str!("../../../../tests/fixtures/overused_terms.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let cases = golden["intervals"].as_array().unwrap();
        assert!(cases.len() > 5);
        let near = |ours: Option<f64>, theirs: &Value, name: &Value| {
            assert_eq!(ours.is_none(), theirs.is_null(), "{name}");
            if let (Some(ours), Some(theirs)) = (ours, theirs.as_f64()) {
                assert!(
                    (ours - theirs).abs() <= 1e-6 * theirs.abs(),
                    "{name}: {ours} is not {theirs}"
                );
            }
        };
        for case in cases {
            let counts = super::super::tests::counts(case);
            let (low, high) = interval(&counts);
            near(rate_ratio(&counts), &case["rate_ratio"], &case["name"]);
            near(Some(low), &case["ci_low"], &case["name"]);
            near(high, &case["ci_high"], &case["name"]);
        }
    }

    /// Intervals of simulated counts hold the true ratio in 95 % of the samples or more, for rare and frequent terms,
    /// whose rate differs from prompt to prompt, on sides of different length.
    #[test]
    fn intervals_cover_the_true_ratio() {
        let mut random = SplitMix64::seed_from_u64(9);
        for (ratio, rate) in [(3.0, 0.3), (0.5, 0.6), (1.5, 4.0)] {
            let samples = 400;
            let mut covered = 0;
            for _ in 0..samples {
                let prompts = (0..40).map(|_| {
                    let [size_a, size_b] = [0, 0].map(|_| 200.0 + 300.0 * random.next_f64());
                    // Each text as many draws as it has words.
                    let topic = 2.0 * random.next_f64();
                    let mut count = |size: f64, rate: f64| {
                        let draws = (0..size as usize).filter(|_| random.next_f64() < rate / 350.0);
                        draws.count() as f64
                    };
                    PromptCounts {
                        a: count(size_a, rate * topic * ratio),
                        b: count(size_b, rate * topic),
                        share: size_a / (size_a + size_b),
                    }
                });
                let prompts: Vec<PromptCounts> = prompts.collect();
                let (low, high) = interval(&prompts);
                covered += usize::from(low <= ratio && high.is_none_or(|high| ratio <= high));
            }
            // Three standard errors below 95 %.
            let share = f64::from(covered as u32) / f64::from(samples);
            assert!(share > 0.95 - 3.0 * 0.011, "{ratio} {rate}: {share}");
        }
    }

    #[test]
    fn intervals_end_where_the_test_rejects() {
        let prompts: Vec<PromptCounts> = (0..60)
            .map(|at| PromptCounts {
                a: f64::from(at % 5),
                b: f64::from(at % 3),
                share: 0.4 + f64::from(at % 7) / 50.0,
            })
            .collect();
        let (low, high) = interval(&prompts);
        let high = high.unwrap();
        let estimate = rate_ratio(&prompts).unwrap();
        assert!(low < estimate && estimate < high, "{low} {estimate} {high}");
        assert!((p_greater(&prompts, low) - TAIL).abs() < 1e-6);
        assert!((p_less(&prompts, high) - TAIL).abs() < 1e-6);
    }
}
