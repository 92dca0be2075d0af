//! Which of two models has more of a measure? The same prompts, one difference each.

use rayon::prelude::*;
use serde::Serialize;

use crate::catalogue::{self, MEASURES, REFERENCE};
use crate::evaluate::Evaluation;
use crate::statistics::bootstrap::{BootstrapCache, percentile};
use crate::statistics::correction::{benjamini_hochberg, holm};
use crate::statistics::mean::{cohen_dz, mean, se};
use crate::statistics::permutation::sign_flips;
use crate::statistics::sign_test::sign_test;
use crate::statistics::wilcoxon::wilcoxon;

/// Two models.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The one.
    pub a: String,
    /// The other: differences are its value less the one's.
    pub b: String,
    /// To how many prompts both have texts.
    pub prompts: usize,
    /// A difference a measure; none where a side is undefined.
    #[serde(serialize_with = "crate::report::by_measure")]
    pub values: Vec<(usize, Option<Difference>)>,
}

/// The difference of two models in a measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean over prompts.
    pub difference: f64,
    /// Its standard error: a prompt is one draw.
    pub se: f64,
    /// The bootstrap's 95 % interval over prompts.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// In standard deviations of the differences.
    pub dz: Option<f64>,
    /// Over how many prompts.
    pub prompts: usize,
    /// To how many prompts the other has more.
    pub up: usize,
    /// Less.
    pub down: usize,
    /// As much.
    pub ties: usize,
    /// The exact sign test.
    pub p_sign: f64,
    /// Wilcoxon's signed-rank test.
    pub p_wilcoxon: Option<f64>,
    /// The sign-flip test of the mean, which the corrections start from.
    pub p_permutation: f64,
    /// Corrected for all differences of the report (Holm).
    pub holm: f64,
    /// Corrected for all differences of the report (Benjamini & Hochberg).
    pub bh: f64,
    /// What is left between texts of equal length.
    pub at_equal_length: Option<Interval>,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The value.
    pub difference: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How sure comparisons want to be.
#[derive(Debug, Clone, Copy)]
pub struct ResamplingConfig {
    /// How often prompts are drawn again.
    pub replicates: usize,
    /// How often signs are drawn.
    pub draws: usize,
    /// Where draws begin.
    pub seed: u64,
}

/// Compares every two models in every measure, and corrects for all of it.
pub fn comparisons(
    evaluation: &Evaluation<'_>,
    rigour: ResamplingConfig,
    redraws: &BootstrapCache,
) -> Vec<Comparison> {
    let n = evaluation.models.len();
    let pairs: Vec<(usize, usize)> = (0..n)
        .flat_map(|a| (a + 1..n).map(move |b| (a, b)))
        .collect();
    let measures = evaluation.measures();
    let mut comparisons: Vec<Comparison> = pairs
        .into_par_iter()
        .map(|(a, b)| {
            let both = evaluation.cells[a].iter().zip(&evaluation.cells[b]);
            let values = measures.par_iter().map(|&measure| {
                (
                    measure,
                    difference(evaluation, [a, b], measure, rigour, redraws),
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
        // What the published code gives is the same question once more.
        .filter(|(measure, _)| !MEASURES[*measure].name.starts_with(REFERENCE))
        .filter_map(|(_, difference)| difference.as_mut())
        .collect();
    let p: Vec<f64> = all
        .iter()
        .map(|difference| difference.p_permutation)
        .collect();
    let corrected = holm(&p).into_iter().zip(benjamini_hochberg(&p));
    for (difference, (holm, bh)) in all.iter_mut().zip(corrected) {
        difference.holm = holm;
        difference.bh = bh;
    }
    comparisons
}

fn difference(
    evaluation: &Evaluation<'_>,
    [a, b]: [usize; 2],
    measure: usize,
    rigour: ResamplingConfig,
    redraws: &BootstrapCache,
) -> Option<Difference> {
    let words = catalogue::index("words")?;
    let of = |model, measure| evaluation.values(model, measure);
    let sides = of(a, measure).into_iter().zip(of(b, measure));
    let lengths = of(a, words).into_iter().zip(of(b, words));
    let both = sides
        .zip(lengths)
        .filter_map(|((a, b), (words_a, words_b))| {
            // What rounding leaves of equal values is no difference.
            let difference = b? - a?;
            let difference = if difference.abs() > 1e-12 {
                difference
            } else {
                0.0
            };
            Some((difference, (words_b? / words_a?).ln()))
        });
    let (differences, longer): (Vec<f64>, Vec<f64>) = both.unzip();
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let [low, high] = redraws.of(n).interval(&differences)?;
    let signs = sign_test(&differences);
    let flips = sign_flips(&differences, rigour.draws, rigour.seed);
    Some(Difference {
        difference: mean(&differences),
        se: se(&differences),
        low,
        high,
        dz: Some(cohen_dz(&differences)).filter(|dz| dz.is_finite()),
        prompts: n,
        up: signs.up,
        down: signs.down,
        ties: signs.ties,
        p_sign: signs.p,
        p_wilcoxon: wilcoxon(&differences).map(|found| found.p),
        p_permutation: flips.p,
        holm: flips.p,
        bh: flips.p,
        at_equal_length: (measure != words)
            .then(|| at_equal_length(&differences, &longer, redraws))
            .flatten(),
    })
}

/// The difference where the line through (ln of the ratio of lengths, difference) crosses zero, and
/// its bootstrap interval. None where lengths do not vary, or nearly all prompts have the longer text
/// from the same model: the line would have to be drawn on beyond what was seen.
fn at_equal_length(
    differences: &[f64],
    longer: &[f64],
    redraws: &BootstrapCache,
) -> Option<Interval> {
    // Of a prompt to which a model has no word, no ratio is known.
    let known = differences
        .iter()
        .zip(longer)
        .filter(|(_, x)| x.is_finite());
    let (differences, longer): (Vec<f64>, Vec<f64>) = known.map(|(y, x)| (*y, *x)).unzip();
    let at_zero = |y: f64, x: f64, xy: f64, xx: f64| {
        let spread = xx - x * x;
        (spread > 1e-12).then(|| y - (xy - x * y) / spread * x)
    };
    let products: Vec<f64> = differences
        .iter()
        .zip(&longer)
        .map(|(y, x)| x * y)
        .collect();
    let squares: Vec<f64> = longer.iter().map(|x| x * x).collect();
    if differences.len() < 4 {
        return None;
    }
    // Beyond the lengths that were seen the line says nothing.
    let mut sorted = longer.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    if percentile(&sorted, 0.05) > 0.0 || percentile(&sorted, 0.95) < 0.0 {
        return None;
    }
    let difference = at_zero(
        mean(&differences),
        mean(&longer),
        mean(&products),
        mean(&squares),
    )?;
    let columns = [&differences, &longer, &products, &squares];
    let draws = redraws.of(differences.len());
    let mut crossings: Vec<f64> = draws
        .rows()
        .filter_map(|row| {
            let [y, x, xy, xx] = columns.map(|column| {
                row.iter().map(|&at| column[at as usize]).sum::<f64>() / row.len() as f64
            });
            at_zero(y, x, xy, xx)
        })
        .collect();
    crossings.sort_unstable_by(f64::total_cmp);
    (!crossings.is_empty()).then(|| Interval {
        difference,
        low: percentile(&crossings, 0.025),
        high: percentile(&crossings, 0.975),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_not_drawn_beyond_the_lengths_that_were_seen() {
        let redraws = BootstrapCache::new(200, 7);
        let longer: Vec<f64> = (0..40).map(|at| f64::from(at - 20) / 10.0).collect();
        // Two apart at equal length, and one more for each e times as long.
        let differences: Vec<f64> = longer.iter().map(|x| 2.0 + x).collect();
        let found = at_equal_length(&differences, &longer, &redraws).unwrap();
        assert!((found.difference - 2.0).abs() < 1e-9 && found.low <= found.high);
        // A prompt without words on one side says nothing of lengths.
        let more = [&longer[..], &[f64::INFINITY]].concat();
        let of_more = [&differences[..], &[9.0]].concat();
        let same = at_equal_length(&of_more, &more, &redraws).unwrap();
        assert_eq!(same, found);
        let always: Vec<f64> = longer.iter().map(|x| x + 5.0).collect();
        assert_eq!(at_equal_length(&differences, &always, &redraws), None);
        assert_eq!(at_equal_length(&differences, &[0.0; 40], &redraws), None);
    }
}
