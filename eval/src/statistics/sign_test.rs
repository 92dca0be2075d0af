//! Do more prompts rise than fall? The exact sign test.

/// How many differences are above and below zero, and how likely so uneven a split is by chance.
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
        p: split(up, down),
    }
}

/// How likely a split at least as uneven is when both sides are as likely (binomial, two-sided).
pub fn split(up: usize, down: usize) -> f64 {
    let n = up + down;
    // ln of n choose k, grown from k = 0.
    let mut choose = 0.0_f64;
    let mut tail = 0.0;
    for k in 0..=up.min(down) {
        if k > 0 {
            choose += ((n - k + 1) as f64 / k as f64).ln();
        }
        tail += (choose - n as f64 * std::f64::consts::LN_2).exp();
    }
    f64::min(2.0 * tail, 1.0)
}
