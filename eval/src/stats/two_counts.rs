//! Tests of two counts: z-test of two proportions (statsmodels: `proportions_ztest`) and Fisher's exact test.

use statrs::distribution::{Discrete as _, Hypergeometric};

use super::mean::two_sided_normal;

/// The two-sided p-value of the pooled z-test of two proportions, `a` / `of` and `b` / `of`: the test that the
/// paper's p-values match. It assumes that both counts are independent.
pub fn two_proportions(a: usize, b: usize, of: usize) -> f64 {
    let of = of as f64;
    let (a, b) = (a as f64 / of, b as f64 / of);
    let pooled = f64::midpoint(a, b);
    let se = (pooled * (1.0 - pooled) * 2.0 / of).sqrt();
    if se == 0.0 {
        1.0
    } else {
        two_sided_normal((a - b) / se)
    }
}

/// The two-sided p-value of Fisher's exact test of the table `[[a, of - a], [b, of - b]]`: the total probability
/// of all tables that are at most as probable (scipy: `fisher_exact`).
pub fn fisher(a: usize, b: usize, of: usize) -> f64 {
    let wins = a + b;
    let Ok(tables) = Hypergeometric::new(2 * of as u64, of as u64, wins as u64) else {
        return f64::NAN;
    };
    // Sum the probabilities: statrs' own test subtracts a CDF from 1, which loses small p-values.
    let threshold = tables.ln_pmf(a as u64) + 1e-7;
    let counts = wins.saturating_sub(of)..=wins.min(of);
    let log_p = counts.map(|count| tables.ln_pmf(count as u64));
    let p: f64 = log_p.filter(|p| *p <= threshold).map(f64::exp).sum();
    p.min(1.0)
}
