//! Length-adjusted difference: a linear regression of paired differences on the log ratio of lengths, at
//! ratio 1.

use serde::Serialize;

use crate::stats::bootstrap::{BootstrapCache, percentile};
use crate::stats::mean::mean;

/// A difference at equal length, with its 95 % bootstrap confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LengthAdjusted {
    /// The intercept of the regression: the difference where both lengths are equal.
    pub difference: f64,
    /// The lower end of the 95 % bootstrap confidence interval.
    pub ci_low: f64,
    /// The upper end of the 95 % bootstrap confidence interval.
    pub ci_high: f64,
}

/// The intercept of the regression of the differences on the log ratios of lengths, with its bootstrap
/// confidence interval. `None` where lengths do not vary, or where one model is longer on nearly all
/// prompts: equal length would be an extrapolation.
pub(super) fn length_adjusted(
    differences: &[f64],
    log_ratios: &[f64],
    bootstrap: &BootstrapCache,
) -> Option<LengthAdjusted> {
    // A prompt where a model wrote no word has an infinite or undefined log ratio.
    let finite = differences
        .iter()
        .zip(log_ratios)
        .filter(|(_, x)| x.is_finite());
    let (differences, log_ratios): (Vec<f64>, Vec<f64>) = finite.map(|(y, x)| (*y, *x)).unzip();
    let at_zero = |y: f64, x: f64, xy: f64, xx: f64| {
        let spread = xx - x * x;
        (spread > 1e-12).then(|| y - (xy - x * y) / spread * x)
    };
    let products: Vec<f64> = differences
        .iter()
        .zip(&log_ratios)
        .map(|(y, x)| x * y)
        .collect();
    let squares: Vec<f64> = log_ratios.iter().map(|x| x * x).collect();
    if differences.len() < 4 {
        return None;
    }
    // Do not extrapolate: ratio 1 must lie within the observed ratios.
    let mut sorted = log_ratios.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    if percentile(&sorted, 0.05) > 0.0 || percentile(&sorted, 0.95) < 0.0 {
        return None;
    }
    let difference = at_zero(
        mean(&differences),
        mean(&log_ratios),
        mean(&products),
        mean(&squares),
    )?;
    let columns = [&differences, &log_ratios, &products, &squares];
    let resamples = bootstrap.indices(differences.len());
    let mut intercepts: Vec<f64> = resamples
        .rows()
        .filter_map(|row| {
            let [y, x, xy, xx] = columns.map(|column| {
                row.iter().map(|&at| column[at as usize]).sum::<f64>() / row.len() as f64
            });
            at_zero(y, x, xy, xx)
        })
        .collect();
    intercepts.sort_unstable_by(f64::total_cmp);
    (!intercepts.is_empty()).then(|| LengthAdjusted {
        difference,
        ci_low: percentile(&intercepts, 0.025),
        ci_high: percentile(&intercepts, 0.975),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_at_equal_length_needs_overlapping_lengths() {
        let bootstrap = BootstrapCache::new(200, 7);
        let log_ratios: Vec<f64> = (0..40).map(|at| f64::from(at - 20) / 10.0).collect();
        // A difference of 2 at equal length, and 1 with_infinite per factor e in length.
        let differences: Vec<f64> = log_ratios.iter().map(|x| 2.0 + x).collect();
        let adjusted = length_adjusted(&differences, &log_ratios, &bootstrap).unwrap();
        assert!((adjusted.difference - 2.0).abs() < 1e-9 && adjusted.ci_low <= adjusted.ci_high);
        // A prompt without words on one side is ignored.
        let with_infinite = [&log_ratios[..], &[f64::INFINITY]].concat();
        let with_outlier = [&differences[..], &[9.0]].concat();
        let same = length_adjusted(&with_outlier, &with_infinite, &bootstrap).unwrap();
        assert_eq!(same, adjusted);
        let always: Vec<f64> = log_ratios.iter().map(|x| x + 5.0).collect();
        assert_eq!(length_adjusted(&differences, &always, &bootstrap), None);
        assert_eq!(length_adjusted(&differences, &[0.0; 40], &bootstrap), None);
    }
}
