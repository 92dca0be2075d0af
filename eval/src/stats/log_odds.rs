//! Log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words",
//! equations 16, 20 and 22): an effect size of a term's frequency on two sides.

/// The number of words of the prior.
const PRIOR: f64 = 1000.0;

/// The log-odds ratio of a term, and its z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogOdds {
    /// The difference of the log-odds of the term, side A minus side B, in nats.
    pub log_odds: f64,
    /// The difference over its standard deviation. That takes all occurrences to be independent, so this is no test:
    /// a term that one text repeats has a large z.
    pub z: f64,
}

/// The log-odds ratio of a term that side A has `counts[0]` times among `sizes[0]` n-grams and side B `counts[1]`
/// times among `sizes[1]`. The prior counts as 1,000 n-grams in which the term has its share of both sides
/// together. Needs an occurrence.
pub fn log_odds(counts: [f64; 2], sizes: [f64; 2]) -> LogOdds {
    let share = (counts[0] + counts[1]) / (sizes[0] + sizes[1]);
    let prior = PRIOR * share;
    let odds = [0, 1].map(|side| {
        let with = counts[side] + prior;
        (with / (sizes[side] + PRIOR - with)).ln()
    });
    let log_odds = odds[0] - odds[1];
    let variance: f64 = counts.iter().map(|count| 1.0 / (count + prior)).sum();
    LogOdds {
        log_odds,
        z: log_odds / variance.sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Values of a script (`tests/peers/overused_terms.py`).
    #[test]
    fn log_odds_equal_those_of_the_script() {
        let golden = include_str!("../../../tests/fixtures/overused_terms.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let cases = golden["log_odds"].as_array().unwrap();
        assert!(cases.len() > 4);
        for case in cases {
            let number = |name: &str| case[name].as_f64().unwrap();
            let ours = log_odds([number("a"), number("b")], [number("n_a"), number("n_b")]);
            assert!((ours.log_odds - number("log_odds")).abs() < 1e-9);
            assert!((ours.z - number("z")).abs() < 1e-9 * number("z").abs().max(1.0));
        }
    }
}
