//! Score transform: votes, which span five orders of magnitude, to targets from -1 to 1.

/// The number of times the logarithm is applied, as in the paper.
const ITERATIONS: usize = 100;

/// Scores shifted to a minimum of 1, each `x -> log(1 + x)` a hundred times, then scaled to `[-1, 1]`. Equal
/// scores are all 0.
///
/// The reference code (`transform_scores`) shifts the scores but not the minimum and maximum it scales by,
/// which is correct only where the minimum is 1. Here all three are shifted.
pub fn transform_scores(scores: &[f64]) -> Vec<f64> {
    let min = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let log = |score: f64| (0..ITERATIONS).fold(score - min + 1.0, |x, _| x.ln_1p());
    let logs: Vec<f64> = scores.iter().map(|score| log(*score)).collect();
    let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high <= low {
        return vec![0.0; scores.len()];
    }
    let scale = |x: &f64| 2.0 * (x - low) / (high - low) - 1.0;
    logs.iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::transform_scores;

    /// The reference script's values, minimum 1 and maximum 23,079, as in the paper's Table 4.
    #[test]
    fn targets_match_the_reference_script() {
        let golden = include_str!("../../../tests/fixtures/eval.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let numbers = |case: &str, field: &str| -> Vec<f64> {
            let values = golden["misc"][case][field].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let case = "reddit_transform_factor100_min1_max23079";
        let (votes, expected) = (numbers(case, "raw"), numbers(case, "transformed"));
        assert_eq!((votes.len(), expected.len()), (12, 12));
        for (actual, expected) in transform_scores(&votes).iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-9, "{actual} {expected}");
        }
        // With a minimum of 0 the reference code gives values between 0.937 and 1.000004.
        let case = "reddit_transform_factor100_min0_max500";
        let (votes, theirs) = (numbers(case, "raw"), numbers(case, "transformed"));
        assert!(theirs[0] > 0.93 && theirs[4] > 1.0);
        let ours = transform_scores(&votes);
        assert_eq!((ours[0], ours[4]), (-1.0, 1.0));
    }

    #[test]
    fn any_minimum_gives_the_full_range() {
        for shift in [-51.0, -1.0, 0.0, 2.0] {
            let votes: Vec<f64> = [1.0, 2.0, 3.0, 500.0].iter().map(|v| v + shift).collect();
            let targets = transform_scores(&votes);
            assert_eq!((targets[0], targets[3]), (-1.0, 1.0));
            assert!(targets.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(transform_scores(&[4.0, 4.0]), [0.0, 0.0]);
        assert!(transform_scores(&[]).is_empty());
    }
}
