//! Exchange test: whether a term is more frequent on one side than on the other, over prompts.
//!
//! At a prompt with `a` occurrences on side A and `b` on side B, where A has the share `w` of the n-grams, the
//! difference is d = a - (a + b) w. Without a difference in rates its expected value is 0. The unit is the prompt:
//! under the null hypothesis each prompt keeps its difference or changes sides. A difference d > 0 becomes
//! -d w / (1 - w), a difference d < 0 becomes -d (1 - w) / w, and with probability `w` the value is the one in
//! favour of A, so that the mean is 0. For w = 1/2 this is the test by sign flips, for a term with one occurrence a
//! prompt the binomial test of shares `w`. Plain sign flips would not do: ten prompts with a rare term of which A
//! has all, with w = 2/3, have the probability (2/3)^10 = 0.017 and not 2^-10. For frequent terms, whose differences
//! are nearly symmetric, the test is conservative if the lengths differ.
//!
//! The hypothesis of a rate ratio r replaces w by r w / (r w + 1 - w); [`rate_ratio`] inverts the test.

mod exact;
pub mod rate_ratio;
mod saddlepoint;

/// The occurrences of a term at one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptCounts {
    /// The occurrences on side A.
    pub a: f64,
    /// The occurrences on side B.
    pub b: f64,
    /// The share of side A among the n-grams of the prompt, above 0 and below 1.
    pub share: f64,
}

/// The value of a prompt under the null hypothesis, from its smaller value: `gain` or 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TwoPoint {
    /// The larger value minus the smaller one; above 0.
    gain: f64,
    /// The probability of the larger value.
    gained: f64,
    /// The probability of the smaller value; 1 - `gained` without a loss of digits.
    missed: f64,
    /// Whether the larger value was observed.
    is_gained: bool,
}

/// The one-sided p-value of the alternative that the rate of side A is above `ratio` times that of side B: the
/// probability under the null hypothesis of a sum over prompts that is at least as large. 1 without an
/// occurrence.
///
/// Exact for at most 16 prompts, and for any number of prompts if at most 12 gain a number of occurrences that is not
/// whole by changing sides (with all occurrences on one side it is whole), else by the saddlepoint approximation of
/// Lugannani and Rice (1980), whose relative error is a few percent.
pub fn p_greater(prompts: &[PromptCounts], ratio: f64) -> f64 {
    upper_tail(&two_points(prompts, ratio))
}

/// The one-sided p-value of the alternative that the rate of side A is below `ratio` times that of side B; see
/// [`p_greater`].
pub fn p_less(prompts: &[PromptCounts], ratio: f64) -> f64 {
    let mut points = two_points(prompts, ratio);
    for point in &mut points {
        *point = TwoPoint {
            gain: point.gain,
            gained: point.missed,
            missed: point.gained,
            is_gained: !point.is_gained,
        };
    }
    upper_tail(&points)
}

/// The values of all prompts that can change sides.
fn two_points(prompts: &[PromptCounts], ratio: f64) -> Vec<TwoPoint> {
    let point = |counts: &PromptCounts| {
        let PromptCounts { a, b, share } = *counts;
        let total = ratio * share + (1.0 - share);
        let (gained, missed) = (ratio * share / total, (1.0 - share) / total);
        let difference = a * missed - b * gained;
        let is_gained = difference > 0.0;
        // As differences of counts, so that they are whole where one side has none.
        let gain = if is_gained {
            a - b * gained / missed
        } else {
            b - a * missed / gained
        };
        // Not a number where a share is 0 or 1: such a prompt says nothing.
        (gain > 0.0 && gain.is_finite()).then_some(TwoPoint {
            gain,
            gained,
            missed,
            is_gained,
        })
    };
    prompts.iter().filter_map(point).collect()
}

/// The probability of a sum of gains that is at least the observed one.
fn upper_tail(points: &[TwoPoint]) -> f64 {
    if points.iter().all(|point| !point.is_gained) {
        return 1.0;
    }
    if points.iter().all(|point| point.is_gained) {
        return points.iter().map(|point| point.gained).product();
    }
    exact::upper_tail(points).unwrap_or_else(|| saddlepoint::upper_tail(points))
}

/// The observed sum of gains.
fn observed(points: &[TwoPoint]) -> f64 {
    let gained = points.iter().filter(|point| point.is_gained);
    gained.map(|point| point.gain).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use polyphony_io::random::SplitMix64;
    use serde_json::Value;

    use super::*;

    pub(super) fn counts(case: &Value) -> Vec<PromptCounts> {
        let column = |name: &str| -> Vec<f64> {
            let values = case[name].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let (a, b) = (column("a"), column("b"));
        let (sizes_a, sizes_b) = (column("n_a"), column("n_b"));
        let prompts = 0..a.len();
        prompts
            .map(|at| PromptCounts {
                a: a[at],
                b: b[at],
                share: sizes_a[at] / (sizes_a[at] + sizes_b[at]),
            })
            .collect()
    }

    /// p-values that a script computes in fractions (`tests/peers/overused_terms.py`).
    #[test]
    fn p_values_equal_those_of_all_exchanges() {
        let golden = include_str!("../../../../tests/fixtures/overused_terms.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let (mut exact, mut approximate) = (0, 0);
        for case in golden["tests"].as_array().unwrap() {
            let counts = counts(case);
            let ratio = case["ratio"].as_f64().unwrap();
            let is_exact = case["exact"].as_bool().unwrap();
            // The script says for how many prompts the differences are no whole numbers.
            let tolerance = if is_exact { 1e-9 } else { 0.05 };
            let pairs = [
                (p_greater(&counts, ratio), &case["p_greater"]),
                (p_less(&counts, ratio), &case["p_less"]),
            ];
            for (ours, theirs) in pairs {
                let theirs = theirs.as_f64().unwrap();
                let error = (ours / theirs - 1.0).abs();
                assert!(
                    error < tolerance,
                    "{}: {ours} is not {theirs}",
                    case["name"]
                );
            }
            exact += usize::from(is_exact);
            approximate += usize::from(!is_exact);
        }
        assert!(exact > 10 && approximate > 5, "{exact} {approximate}");
    }

    #[test]
    fn a_term_of_one_side_has_the_product_of_the_shares() {
        let prompt = PromptCounts {
            a: 1.0,
            b: 0.0,
            share: 2.0 / 3.0,
        };
        let p = p_greater(&[prompt; 10], 1.0);
        assert!((p - (2.0_f64 / 3.0).powi(10)).abs() < 1e-15, "{p}");
        assert_eq!(p_less(&[prompt; 10], 1.0), 1.0);
        // Prompts without the term, and those that only one side answered, say nothing.
        let none = PromptCounts {
            a: 0.0,
            b: 0.0,
            share: 0.5,
        };
        let alone = PromptCounts {
            a: 3.0,
            b: 0.0,
            share: 1.0,
        };
        assert_eq!(
            p_greater(&[[prompt; 10].as_slice(), &[none, alone]].concat(), 1.0),
            p
        );
        assert_eq!(p_greater(&[none], 1.0), 1.0);
        assert_eq!(p_greater(&[], 1.0), 1.0);
    }

    /// Under the null hypothesis p falls below 5 % in at most about 5 % of the cases, also where the sides have
    /// different lengths and occurrences come in clumps.
    #[test]
    fn p_values_hold_their_level() {
        let mut random = SplitMix64::seed_from_u64(5);
        let trials = 4000;
        for (prompts, share) in [(12, 0.7), (40, 0.3), (40, 0.5), (120, 0.6)] {
            let mut below = [0; 2];
            for _ in 0..trials {
                let mut counts = Vec::new();
                for at in 0..prompts {
                    let share = share + 0.1 * (random.next_f64() - 0.5);
                    let (mut a, mut b) = (0.0, 0.0);
                    // Each prompt has up to three groups of occurrences, all of a group on one side.
                    for _ in 0..=at % 3 {
                        let size = 1.0 + random.below(3) as f64;
                        if random.next_f64() < share {
                            a += size;
                        } else {
                            b += size;
                        }
                    }
                    counts.push(PromptCounts { a, b, share });
                }
                below[0] += usize::from(p_greater(&counts, 1.0) <= 0.05);
                below[1] += usize::from(p_less(&counts, 1.0) <= 0.05);
            }
            // Four standard errors above 5 %.
            let bound = (0.05 + 4.0 * (0.05 * 0.95 / f64::from(trials)).sqrt()) * f64::from(trials);
            assert!(
                below
                    .iter()
                    .all(|below| (*below as f64) < bound && *below > 40),
                "{prompts} prompts: {below:?} of {trials}"
            );
        }
    }
}
