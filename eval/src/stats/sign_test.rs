//! Sign test: the exact binomial test of how many differences are positive (scipy: `binomtest`).

use statrs::distribution::{Binomial, DiscreteCDF as _};

/// The signs of differences, with the p of the sign test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// Above zero.
    pub up: usize,
    /// Below zero.
    pub down: usize,
    /// Zero: they do not count.
    pub ties: usize,
    /// Two-sided, exact.
    pub p: f64,
}

/// Counts signs.
pub fn sign_test(differences: &[f64]) -> Signs {
    let up = differences.iter().filter(|value| **value > 0.0).count();
    let down = differences.iter().filter(|value| **value < 0.0).count();
    Signs {
        up,
        down,
        ties: differences.len() - up - down,
        p: binomial_test(up, down),
    }
}

/// The two-sided p of a binomial test with probability one half: `up` successes of `up + down`.
pub fn binomial_test(up: usize, down: usize) -> f64 {
    let Ok(binomial) = Binomial::new(0.5, (up + down) as u64) else {
        return f64::NAN;
    };
    f64::min(2.0 * binomial.cdf(up.min(down) as u64), 1.0)
}
