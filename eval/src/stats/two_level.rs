//! Two-level standard error: the uncertainty of a mean over prompts and over training runs, with a t-test.

use super::mean::{mean, t_quantile, two_sided_t};

/// The standard error of a mean over prompts and runs, with its degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoLevel {
    /// The standard error: the square root of the variance over prompts plus that over the runs of each side.
    pub se: f64,
    /// The degrees of freedom by Welch and Satterthwaite; above 0.
    pub freedom: f64,
}

impl TwoLevel {
    /// The standard error of the mean of `prompts`, where each value is itself a mean over runs. `runs` holds,
    /// for each side that has several runs, the mean over the same prompts of each run: one side for the value of
    /// a model, one or two for a difference. A side with one run counts as fixed.
    ///
    /// The variance is the sum of the variances of the means at both levels. Both include the variation of a run
    /// at a prompt, so that the sum is somewhat too large where runs differ by little else (Owen 2007, "The
    /// pigeonhole bootstrap", has the same bias). `None` for fewer than two prompts.
    pub fn new(prompts: &[f64], runs: &[&[f64]]) -> Option<Self> {
        let levels = std::iter::once(prompts).chain(runs.iter().copied().filter(|of| of.len() > 1));
        let levels: Vec<(f64, f64)> = levels
            .map(|of| (variance_of_mean(of), freedom(of)))
            .collect();
        if prompts.len() < 2 {
            return None;
        }
        let variance: f64 = levels.iter().map(|(variance, _)| variance).sum();
        let squares: f64 = levels.iter().map(|(v, freedom)| v * v / freedom).sum();
        Some(Self {
            se: variance.sqrt(),
            freedom: if squares > 0.0 {
                variance * variance / squares
            } else {
                freedom(prompts)
            },
        })
    }

    /// The 95 % confidence interval around an estimate, by Student's t distribution.
    pub fn interval(&self, estimate: f64) -> Option<[f64; 2]> {
        let half = t_quantile(self.freedom)? * self.se;
        Some([estimate - half, estimate + half])
    }

    /// The two-sided p-value of the hypothesis that the mean is 0; 1 for an estimate of 0, `None` where the
    /// standard error alone is 0.
    pub fn p(&self, estimate: f64) -> Option<f64> {
        if estimate == 0.0 {
            return Some(1.0);
        }
        two_sided_t(estimate / self.se, self.freedom)
    }
}

/// The variance of the mean of values, with n - 1 degrees of freedom.
fn variance_of_mean(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    squares.sum::<f64>() / freedom(values) / values.len() as f64
}

fn freedom(values: &[f64]) -> f64 {
    values.len() as f64 - 1.0
}
