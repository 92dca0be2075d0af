//! Paired comparisons: the difference of every two models in every measure, over the prompts of both, with
//! confidence interval, effect size and tests corrected for multiple testing.

use rayon::prelude::*;
use serde::Serialize;

use super::length_adjusted::{LengthAdjusted, length_adjusted};
use crate::config::ResamplingConfig;
use crate::evaluation::Evaluation;
use crate::measures::registry::{self, WORDS, columns};
use crate::stats::bootstrap::BootstrapCache;
use crate::stats::mean::{cohen_dz, mean, se};
use crate::stats::multiple_testing::{benjamini_hochberg, holm};
use crate::stats::permutation::sign_flips;
use crate::stats::sign_test::sign_test;
use crate::stats::wilcoxon::wilcoxon;

/// The paired comparison of two models in every defined column.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The first model.
    pub a: String,
    /// The second model: a difference is the value of `b` minus the value of `a`.
    pub b: String,
    /// The number of prompts that have texts of both models.
    pub prompts: usize,
    /// The difference in each defined column, by column index; `None` where a side is undefined.
    #[serde(serialize_with = "registry::by_column")]
    pub values: Vec<(usize, Option<Difference>)>,
}

/// The difference of two models in a measure, with interval, effect size and p-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean of the paired differences over prompts.
    pub difference: f64,
    /// The standard error of the mean over prompts.
    pub se: f64,
    /// The lower end of the 95 % bootstrap confidence interval, resampled over prompts.
    pub ci_low: f64,
    /// The upper end of that confidence interval.
    pub ci_high: f64,
    /// Cohen's d of paired differences (d with index z): mean over standard deviation; `None` where the
    /// deviation is 0.
    pub cohen_dz: Option<f64>,
    /// The number of prompts where both models have a value.
    pub prompts: usize,
    /// The number of prompts where `b` has the larger value.
    pub up: usize,
    /// The number of prompts where `b` has the smaller value.
    pub down: usize,
    /// The number of prompts where both values are equal.
    pub ties: usize,
    /// p-value of the exact two-sided sign test (scipy: `binomtest`).
    pub p_sign: f64,
    /// Two-sided p-value of Wilcoxon's signed-rank test (scipy: `wilcoxon`); `None` if all differences are 0.
    pub p_wilcoxon: Option<f64>,
    /// Two-sided p-value of the sign-flip permutation test of the mean (scipy: `permutation_test` with
    /// `permutation_type="samples"`); `p_holm` and `p_bh` are corrections of this value.
    pub p_permutation: f64,
    /// `p_permutation` after Holm's correction for all differences of the report (statsmodels:
    /// `multipletests`, `holm`).
    pub p_holm: f64,
    /// `p_permutation` after the Benjamini-Hochberg correction (statsmodels: `fdr_bh`).
    pub p_bh: f64,
    /// The difference adjusted to texts of equal length.
    pub length_adjusted: Option<LengthAdjusted>,
}

/// Compares every pair of models in every defined column, and corrects the p-values of all these tests for
/// multiple testing.
pub fn comparisons(
    evaluation: &Evaluation<'_>,
    resampling: ResamplingConfig,
    bootstrap: &BootstrapCache,
) -> Vec<Comparison> {
    let n = evaluation.models.len();
    let pairs: Vec<(usize, usize)> = (0..n)
        .flat_map(|a| (a + 1..n).map(move |b| (a, b)))
        .collect();
    let measures = evaluation.defined_columns();
    let mut comparisons: Vec<Comparison> = pairs
        .into_par_iter()
        .map(|(a, b)| {
            let both = evaluation.cells[a].iter().zip(&evaluation.cells[b]);
            let values = measures.par_iter().map(|&measure| {
                (
                    measure,
                    difference(evaluation, [a, b], measure, resampling, bootstrap),
                )
            });
            Comparison {
                a: evaluation.models[a].clone(),
                b: evaluation.models[b].clone(),
                prompts: both.filter(|(a, b)| a.is_some() && b.is_some()).count(),
                values: values.collect(),
            }
        })
        .collect();
    let mut all: Vec<&mut Difference> = comparisons
        .iter_mut()
        .flat_map(|comparison| comparison.values.iter_mut())
        // Reference columns measure the same thing a second time, so they are not counted as further tests.
        .filter(|(column, _)| !columns()[*column].reference)
        .filter_map(|(_, difference)| difference.as_mut())
        .collect();
    let p: Vec<f64> = all
        .iter()
        .map(|difference| difference.p_permutation)
        .collect();
    let corrected = holm(&p).into_iter().zip(benjamini_hochberg(&p));
    for (difference, (p_holm, p_bh)) in all.iter_mut().zip(corrected) {
        difference.p_holm = p_holm;
        difference.p_bh = p_bh;
    }
    comparisons
}

fn difference(
    evaluation: &Evaluation<'_>,
    [a, b]: [usize; 2],
    measure: usize,
    resampling: ResamplingConfig,
    bootstrap: &BootstrapCache,
) -> Option<Difference> {
    let words = registry::column_index(WORDS)?;
    let of = |model, measure| evaluation.values(model, measure);
    let sides = of(a, measure).into_iter().zip(of(b, measure));
    let lengths = of(a, words).into_iter().zip(of(b, words));
    let both = sides
        .zip(lengths)
        .filter_map(|((a, b), (words_a, words_b))| {
            // Treat rounding errors of equal values as a tie.
            let difference = b? - a?;
            let difference = if difference.abs() > 1e-12 {
                difference
            } else {
                0.0
            };
            Some((difference, (words_b? / words_a?).ln()))
        });
    let (differences, log_ratios): (Vec<f64>, Vec<f64>) = both.unzip();
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let [ci_low, ci_high] = bootstrap.indices(n).difference_interval(&differences)?;
    let signs = sign_test(&differences);
    let flips = sign_flips(&differences, resampling.permutations, resampling.seed);
    Some(Difference {
        difference: mean(&differences),
        se: se(&differences),
        ci_low,
        ci_high,
        cohen_dz: Some(cohen_dz(&differences)).filter(|dz| dz.is_finite()),
        prompts: n,
        up: signs.up,
        down: signs.down,
        ties: signs.ties,
        p_sign: signs.p,
        p_wilcoxon: wilcoxon(&differences).map(|test| test.p),
        p_permutation: flips.p,
        p_holm: flips.p,
        p_bh: flips.p,
        length_adjusted: (measure != words)
            .then(|| length_adjusted(&differences, &log_ratios, bootstrap))
            .flatten(),
    })
}
