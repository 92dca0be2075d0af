//! Sign test: the exact binomial test of how many differences are positive (scipy: `binomtest`).

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

/// The two-sided p of a binomial test with probability one half: `up` successes of `up + down`. The sum of
/// probabilities is exact to the last digits, where statrs' incomplete beta function has twelve.
pub fn binomial_test(up: usize, down: usize) -> f64 {
    let n = up + down;
    // ln of n choose k, from k = 0 on.
    let mut ln_choose = 0.0_f64;
    let mut tail = 0.0;
    for k in 0..=up.min(down) {
        if k > 0 {
            ln_choose += ((n - k + 1) as f64 / k as f64).ln();
        }
        tail += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
    }
    f64::min(2.0 * tail, 1.0)
}
