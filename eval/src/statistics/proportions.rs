//! Does one side win more often? Tests of two counts.

use statrs::function::gamma::ln_gamma;

use super::mean::two_sided_normal;

/// Two counts of `of` each as two proportions, by the normal distribution with the pooled share: the
/// test that the paper's p-values fit. It takes both counts for samples of their own.
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

/// Fisher's exact test of the table `[[a, of - a], [b, of - b]]`, two-sided: all tables no likelier
/// (scipy: `fisher_exact`).
pub fn fisher(a: usize, b: usize, of: usize) -> f64 {
    let wins = a + b;
    let choose = |n: usize, k: usize| {
        let gamma = |n: usize| ln_gamma(n as f64 + 1.0);
        gamma(n) - gamma(k) - gamma(n - k)
    };
    let log = |x: usize| choose(of, x) + choose(of, wins - x) - choose(2 * of, wins);
    let bar = log(a) + 1e-7;
    let tables = wins.saturating_sub(of)..=wins.min(of);
    let likelihoods = tables.map(log).filter(|log| *log <= bar);
    f64::min(likelihoods.map(f64::exp).sum(), 1.0)
}
