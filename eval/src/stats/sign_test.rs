//! Sign test: the exact binomial test of how many differences are positive (scipy: `binomtest`).

/// The counts of the signs of differences, with the p-value of the sign test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// The number of differences above zero.
    pub up: usize,
    /// The number of differences below zero.
    pub down: usize,
    /// The number of zero differences, which the test ignores.
    pub ties: usize,
    /// The exact two-sided p-value.
    pub p: f64,
}

/// The sign test of paired differences.
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

/// The two-sided p-value of the binomial test with probability 1/2: `up` successes in `up + down` trials. Sums
/// the probabilities, because statrs' incomplete beta function is accurate to twelve digits only.
pub fn binomial_test(up: usize, down: usize) -> f64 {
    let n = up + down;
    // ln(n choose k), updated from k - 1 to k.
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
