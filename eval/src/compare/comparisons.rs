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
use crate::stats::two_level::TwoLevel;
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
    /// The numbers of runs of `a` and `b`; a model of one run counts as fixed.
    pub runs: [usize; 2],
    /// The difference in each defined column, by column index; `None` where a side is undefined.
    #[serde(serialize_with = "registry::by_column")]
    pub values: Vec<(usize, Option<Difference>)>,
}

/// The difference of two models in a measure, with interval, effect size and p-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean of the paired differences over prompts.
    pub difference: f64,
    /// The standard error of the mean over prompts, and over the runs of each model of several runs (see
    /// [`crate::stats::two_level`]).
    pub se: f64,
    /// The lower end of the 95 % confidence interval: bootstrap over prompts, or over
    /// prompts and runs where a model has several.
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
    /// `permutation_type="samples"`). It does not count runs.
    pub p_permutation: f64,
    /// Two-sided p-value of the test over prompts and runs, whose interval is that of `ci_low`; `None` where both models have one run.
    pub p_runs: Option<f64>,
    /// `p_runs`, or else `p_permutation`, after Holm's correction for all differences in primary measures
    /// (statsmodels: `multipletests`, `holm`); `None` in exploratory measures.
    pub p_holm: Option<f64>,
    /// The same p-value after the Benjamini-Hochberg correction (statsmodels: `fdr_bh`), likewise.
    pub p_bh: Option<f64>,
    /// The difference adjusted to texts of equal length.
    pub length_adjusted: Option<LengthAdjusted>,
}

/// Whether differences in a column belong to the family of tests that p-values are corrected for. `primary` are
/// the columns of the family; empty for all but the columns of published code, which measure the same thing a second
/// time.
pub fn is_primary(column: usize, primary: &[usize]) -> bool {
    if primary.is_empty() {
        !columns()[column].reference
    } else {
        primary.contains(&column)
    }
}

/// Compares every pair of models in every defined column, and corrects the p-values of those in the family of
/// primary columns (see [`is_primary`]) for multiple testing.
pub fn comparisons(
    evaluation: &Evaluation<'_>,
    primary: &[usize],
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
                runs: [a, b].map(|model| evaluation.runs[model].len().max(1)),
                prompts: both.filter(|(a, b)| a.is_some() && b.is_some()).count(),
                values: values.collect(),
            }
        })
        .collect();
    let mut all: Vec<&mut Difference> = comparisons
        .iter_mut()
        .flat_map(|comparison| comparison.values.iter_mut())
        .filter(|(column, _)| is_primary(*column, primary))
        .filter_map(|(_, difference)| difference.as_mut())
        .collect();
    let p: Vec<f64> = all
        .iter()
        .map(|difference| difference.p_runs.unwrap_or(difference.p_permutation))
        .collect();
    let corrected = holm(&p).into_iter().zip(benjamini_hochberg(&p));
    for (difference, (p_holm, p_bh)) in all.iter_mut().zip(corrected) {
        difference.p_holm = Some(p_holm);
        difference.p_bh = Some(p_bh);
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
    let both =
        sides
            .zip(lengths)
            .enumerate()
            .filter_map(|(prompt, ((a, b), (words_a, words_b)))| {
                // Treat rounding errors of equal values as a tie.
                let difference = b? - a?;
                let difference = if difference.abs() > 1e-12 {
                    difference
                } else {
                    0.0
                };
                Some((prompt, (difference, (words_b? / words_a?).ln())))
            });
    let (prompts, (differences, log_ratios)): (Vec<usize>, (Vec<f64>, Vec<f64>)) = both.unzip();
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let runs = [a, b].map(|model| evaluation.run_means(model, measure, &prompts));
    let has_runs = runs.iter().any(|runs| !runs.is_empty());
    let two_level = TwoLevel::new(&differences, &[&runs[0], &runs[1]]).filter(|_| has_runs);
    let [ci_low, ci_high] = match &two_level {
        Some(error) => Some(error.interval(mean(&differences))),
        None => bootstrap.indices(n).difference_interval(&differences),
    }?;
    let signs = sign_test(&differences);
    let flips = sign_flips(&differences, resampling.permutations, resampling.seed);
    Some(Difference {
        difference: mean(&differences),
        se: two_level
            .as_ref()
            .map_or_else(|| se(&differences), |error| error.se),
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
        p_runs: two_level.map(|error| error.p(mean(&differences))),
        p_holm: None,
        p_bh: None,
        length_adjusted: (measure != words)
            .then(|| length_adjusted(&differences, &log_ratios, bootstrap))
            .flatten(),
    })
}
