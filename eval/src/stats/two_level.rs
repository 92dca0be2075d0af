//! Two-level interval: the uncertainty of a mean over prompts and over training runs, with a test.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::mean::mean;

/// The variance of a mean over prompts and over training runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoLevel {
    /// The standard error: the square root of the sum of the variances of both levels.
    pub se: f64,
    /// The variance of the mean at each level, with its degrees of freedom.
    levels: Vec<(f64, f64)>,
}

impl TwoLevel {
    /// The uncertainty of the mean of `prompts`, where each value is itself a mean over runs. `runs` holds, for
    /// each side that has several runs, the mean over the same prompts of each run: one side for the value of a
    /// model, one or two for a difference. The runs of both sides are taken to vary alike, so that their variances
    /// are pooled. A side with one run counts as fixed.
    ///
    /// Both levels include the variation of a run at a prompt, so that their sum is somewhat too large where runs
    /// differ by little else (as in the pigeonhole bootstrap, Owen 2007). `None` for fewer than two prompts.
    pub fn new(prompts: &[f64], runs: &[&[f64]]) -> Option<Self> {
        if prompts.len() < 2 {
            return None;
        }
        let n = prompts.len() as f64;
        let mut levels = vec![(squares(prompts) / (n - 1.0) / n, n - 1.0)];
        let several = || runs.iter().filter(|side| side.len() > 1);
        let freedom: f64 = several().map(|side| side.len() as f64 - 1.0).sum();
        if freedom > 0.0 {
            let pooled = several().map(|side| squares(side)).sum::<f64>() / freedom;
            let shares = several().map(|side| 1.0 / side.len() as f64).sum::<f64>();
            levels.push((pooled * shares, freedom));
        }
        let variance: f64 = levels.iter().map(|(variance, _)| variance).sum();
        Some(Self {
            se: variance.sqrt(),
            levels,
        })
    }

    /// The 95 % confidence interval around an estimate. Its half width is the root of the sum over levels of
    /// variance times the square of Student's quantile, which holds the true value in at least 95 % of cases
    /// whatever the ratio of the variances (Banerjee 1961), also where a level has one or two degrees of freedom.
    pub fn interval(&self, estimate: f64) -> [f64; 2] {
        let half = self.half_width(0.05);
        [estimate - half, estimate + half]
    }

    /// The two-sided p-value of the hypothesis that the mean is 0: the smallest p for which the interval of level
    /// 1 - p holds 0, at least 1e-12.
    pub fn p(&self, estimate: f64) -> f64 {
        let (mut low, mut high) = (1e-12_f64.ln(), 0.0_f64);
        if estimate.abs() > self.half_width(low.exp()) {
            return low.exp();
        }
        // Bisection of ln p to about ten digits: the half width falls as p rises.
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.half_width(middle.exp()) < estimate.abs() {
                high = middle;
            } else {
                low = middle;
            }
        }
        f64::midpoint(low, high).exp()
    }

    /// Half the width of the confidence interval of level 1 - p.
    fn half_width(&self, p: f64) -> f64 {
        let squares = self.levels.iter().map(|(variance, freedom)| {
            // The lower tail: 1 - p / 2 would round for a small p. Freedoms are above 0.
            let quantile = StudentsT::new(0.0, 1.0, *freedom)
                .map_or(f64::INFINITY, |student| student.inverse_cdf(p / 2.0));
            if *variance > 0.0 {
                variance * quantile * quantile
            } else {
                0.0
            }
        });
        squares.sum::<f64>().sqrt()
    }
}

/// The sum of squared deviations from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_level_1_minus_p_ends_at_0() {
        let prompts = [0.2, 0.9, 0.4, 0.7, 0.1, 0.6];
        let runs = [&[0.1, 0.5][..], &[0.9, 1.2, 1.0]];
        for sides in [&runs[..0], &runs[..1], &runs] {
            let error = TwoLevel::new(&prompts, sides).unwrap();
            for estimate in [0.05, 0.5, 1.5] {
                let p = error.p(estimate);
                let half = error.half_width(p);
                assert!(
                    (half - estimate).abs() < 1e-6 * estimate,
                    "{half} {estimate}"
                );
                let [low, high] = error.interval(estimate);
                assert_eq!(p < 0.05, low > 0.0, "{p} {low}");
                assert!(low < estimate && estimate < high);
            }
            assert!(error.p(0.0) > 0.999);
        }
        // More runs of less variance leave the interval over prompts.
        let alone = TwoLevel::new(&prompts, &[]).unwrap();
        assert_eq!(TwoLevel::new(&prompts, &[&[0.5]]).unwrap(), alone);
        let same = TwoLevel::new(&prompts, &[&[0.5; 3]]).unwrap();
        assert_eq!(same.interval(0.5), alone.interval(0.5));
        // Without any variation every difference is certain, and none is none.
        let certain = TwoLevel::new(&[1.0; 4], &[&[1.0; 2]]).unwrap();
        assert_eq!(certain.interval(1.0), [1.0, 1.0]);
        assert!(certain.p(1.0) <= 1e-11);
        assert!(certain.p(0.0) > 0.999);
        assert!(TwoLevel::new(&[1.0], &[]).is_none());
    }
}
