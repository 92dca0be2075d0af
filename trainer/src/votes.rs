//! What does a reward model learn of votes that span five orders of magnitude? A number from -1 to 1.

/// How often the logarithm is taken, as the paper did.
const TIMES: usize = 100;

/// Votes, each `x -> log(1 + x)` a hundred times, then spread over -1 to 1.
///
/// The reference (`transform_scores`) shifts votes to begin at 1 but not its minimum and maximum,
/// which is right only where the least vote is 1. Here all three are shifted. Where all votes are
/// equal, each is 0.
pub fn transform(votes: &[f64]) -> Vec<f64> {
    let least = votes.iter().copied().fold(f64::INFINITY, f64::min);
    let bent = |vote: f64| (0..TIMES).fold(vote - least + 1.0, |x, _| x.ln_1p());
    let bent: Vec<f64> = votes.iter().map(|vote| bent(*vote)).collect();
    let low = bent.iter().copied().fold(f64::INFINITY, f64::min);
    let high = bent.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high <= low {
        return vec![0.0; votes.len()];
    }
    let spread = |x: &f64| 2.0 * (x - low) / (high - low) - 1.0;
    bent.iter().map(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::transform;

    /// The reference script's values, minimum 1 and maximum 23,079, as in the paper's Table 4.
    #[test]
    fn votes_are_transformed_as_the_paper_did() {
        let golden = include_str!("../../tests/fixtures/eval.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let numbers = |case: &str, of: &str| -> Vec<f64> {
            let values = golden["misc"][case][of].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let case = "reddit_transform_factor100_min1_max23079";
        let (votes, known) = (numbers(case, "raw"), numbers(case, "transformed"));
        assert_eq!((votes.len(), known.len()), (12, 12));
        for (given, known) in transform(&votes).iter().zip(known) {
            assert!((given - known).abs() < 1e-9, "{given} {known}");
        }
        // Where the least vote is 0 the reference squeezes all of them between 0.937 and 1.000004.
        let case = "reddit_transform_factor100_min0_max500";
        let (votes, theirs) = (numbers(case, "raw"), numbers(case, "transformed"));
        assert!(theirs[0] > 0.93 && theirs[4] > 1.0);
        let ours = transform(&votes);
        assert_eq!((ours[0], ours[4]), (-1.0, 1.0));
    }

    #[test]
    fn any_minimum_gives_the_whole_range() {
        for shift in [-51.0, -1.0, 0.0, 2.0] {
            let votes: Vec<f64> = [1.0, 2.0, 3.0, 500.0].iter().map(|v| v + shift).collect();
            let given = transform(&votes);
            assert_eq!((given[0], given[3]), (-1.0, 1.0));
            assert!(given.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(transform(&[4.0, 4.0]), [0.0, 0.0]);
        assert!(transform(&[]).is_empty());
    }
}
