//! Statistics of a study: win rates with confidence intervals, the sign test over items, inter-annotator agreement
//! (Krippendorff's alpha), and the paper's two tests (two-proportions z-test, Fisher's exact test).
//!
//! The unit is the item: answers of several annotators to one item are about the same texts, so they are not
//! independent. The sign test and the intervals below respect that; the paper's tests do not.

use serde::Serialize;

use crate::stats::bootstrap::BootstrapIndices;
use crate::stats::cluster_bootstrap::{Cluster, share_interval};
use crate::stats::krippendorff_alpha::alpha;
use crate::stats::proportion::{clopper_pearson, wilson};
use crate::stats::sign_test::binomial_test;
use crate::stats::two_counts::{fisher, two_proportions};

/// The answers to an item: for each, the index of the model that won; `None` is undecided.
pub type ItemAnswers = Vec<Option<usize>>;

/// The statistics of the answers to a question. Pairs are in the order of the models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuestionResult {
    /// `quality` or `diversity`.
    pub question: &'static str,
    /// The number of items with an answer.
    pub items: usize,
    /// The number of items that each model won by majority of their answers; the rest is undecided.
    pub items_won: [usize; 2],
    /// The p-value of the exact sign test over the items that a model won (scipy: `binomtest`).
    pub p_sign: f64,
    /// Of the items that a model won, the share of each model, with the Clopper-Pearson interval, which excludes
    /// 1/2 exactly if `p_sign` is below 0.05. `None` if no model won an item.
    pub decided_win_rates: Option<[WinRate; 2]>,
    /// Of all items, the share that each model won, with Wilson's interval.
    pub item_win_rates: [WinRate; 2],
    /// The number of answers.
    pub answers: usize,
    /// The number of answers for each model; the rest is undecided.
    pub won: [usize; 2],
    /// Of all answers, the share for each model, with the interval of a cluster bootstrap over items.
    pub answer_win_rates: [WinRate; 2],
    /// Krippendorff's alpha of the annotators; `None` if no item has two answers, or all answers are equal.
    pub alpha: Option<f64>,
    /// The paper's tests.
    pub assuming_independent_answers: PaperTests,
}

/// A share, 0 to 1, with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WinRate {
    /// The share.
    pub share: f64,
    /// The lower end of the interval; `None` where it is undefined.
    pub ci_low: Option<f64>,
    /// The upper end of the interval.
    pub ci_high: Option<f64>,
}

/// The paper's tests, which take the answers for A and the answers for B as two independent samples of equal
/// size. They are one sample: an answer for A is no answer for B. So equal models give p < 0.05 in far more than
/// 5 % of studies (`benches/study_null.rs` measures how many), and these are no valid p-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PaperTests {
    /// The p-value of the z-test of two proportions over answers (statsmodels: `proportions_ztest`).
    pub p_two_proportions: f64,
    /// The p-value of Fisher's exact test over answers (scipy: `fisher_exact`).
    pub p_fisher: f64,
}

/// Computes the statistics of a question from the answers to each item; items without an answer are ignored.
/// `bootstrap_samples` and `seed` are those of the cluster bootstrap.
pub fn question_result(
    question: &'static str,
    items: &[ItemAnswers],
    bootstrap_samples: usize,
    seed: u64,
) -> QuestionResult {
    let items: Vec<&ItemAnswers> = items.iter().filter(|item| !item.is_empty()).collect();
    let votes =
        |item: &ItemAnswers, model| item.iter().filter(|wins| **wins == Some(model)).count();
    let is_won = |item: &ItemAnswers, model: usize| votes(item, model) > votes(item, 1 - model);
    let items_won = [0, 1].map(|model| items.iter().filter(|item| is_won(item, model)).count());
    let won = [0, 1].map(|model| items.iter().map(|item| votes(item, model)).sum::<usize>());
    let answers: usize = items.iter().map(|item| item.len()).sum();
    let decided = items_won[0] + items_won[1];
    let resamples = BootstrapIndices::new(items.len(), bootstrap_samples, seed);
    let of_answers = |model: usize| {
        let clusters = items.iter().map(|item| Cluster {
            successes: votes(item, model),
            size: item.len(),
        });
        let interval = share_interval(&clusters.collect::<Vec<_>>(), &resamples);
        WinRate::new(won[model], answers, interval)
    };
    let names: Vec<Vec<&str>> = items
        .iter()
        .map(|item| item.iter().copied().map(name).collect())
        .collect();
    QuestionResult {
        question,
        items: items.len(),
        items_won,
        p_sign: binomial_test(items_won[0], items_won[1]),
        decided_win_rates: (decided > 0)
            .then(|| items_won.map(|n| WinRate::new(n, decided, clopper_pearson(n, decided)))),
        item_win_rates: items_won.map(|n| WinRate::new(n, items.len(), wilson(n, items.len()))),
        answers,
        won,
        answer_win_rates: [0, 1].map(of_answers),
        alpha: alpha(&names),
        assuming_independent_answers: PaperTests {
            p_two_proportions: two_proportions(won[0], won[1], answers),
            p_fisher: fisher(won[0], won[1], answers),
        },
    }
}

/// The category of an answer, for the agreement of annotators.
fn name(wins: Option<usize>) -> &'static str {
    match wins {
        Some(0) => "first",
        Some(_) => "second",
        None => "undecided",
    }
}

impl WinRate {
    /// The share `count` / `of`, `of` > 0.
    fn new(count: usize, of: usize, interval: Option<[f64; 2]>) -> Self {
        Self {
            share: count as f64 / of as f64,
            ci_low: interval.map(|interval| interval[0]),
            ci_high: interval.map(|interval| interval[1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Golden values of scipy, statsmodels and numpy for whole studies.
    #[test]
    fn statistics_equal_those_of_scipy_and_statsmodels() {
        let golden = include_str!("../../../tests/fixtures/study_intervals.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let studies = golden["studies"].as_array().unwrap();
        assert_eq!(studies.len(), 3);
        for study in studies {
            let answer = |answer: &Value| match answer.as_str().unwrap() {
                "first" => Some(0),
                "second" => Some(1),
                _ => None,
            };
            let items = study["answers"].as_array().unwrap().iter();
            let items: Vec<ItemAnswers> = items
                .map(|item| item.as_array().unwrap().iter().map(answer).collect())
                .collect();
            let result = question_result("quality", &items, 20_000, 1);
            assert_eq!(Value::from(result.won.to_vec()), study["won"]);
            assert_eq!(Value::from(result.items_won.to_vec()), study["items_won"]);
            let near = |ours: f64, theirs: &Value, tolerance: f64| {
                let theirs = theirs.as_f64().unwrap();
                let scale = tolerance * theirs.min(1.0);
                assert!((ours - theirs).abs() <= scale, "{ours} is not {theirs}");
            };
            let interval = |rate: WinRate, theirs: &Value, tolerance| {
                near(rate.ci_low.unwrap(), &theirs[0], tolerance);
                near(rate.ci_high.unwrap(), &theirs[1], tolerance);
            };
            near(result.p_sign, &study["p_sign"], 1e-9);
            let paper = result.assuming_independent_answers;
            near(paper.p_two_proportions, &study["p_two_proportions"], 1e-9);
            near(paper.p_fisher, &study["p_fisher"], 1e-9);
            interval(
                result.decided_win_rates.unwrap()[0],
                &study["decided"],
                1e-9,
            );
            for model in [0, 1] {
                let rate = result.item_win_rates[model];
                interval(rate, &study["items_wilson"][model], 1e-9);
                // Two different generators of random numbers.
                let rate = result.answer_win_rates[model];
                interval(rate, &study["answers_bootstrap"][model], 0.03);
            }
        }
    }

    /// The four p-values of the paper's Table 2, of 50 items with one answer each.
    #[test]
    fn p_values_of_the_published_study() {
        let golden = include_str!("../../../tests/fixtures/eval.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let table = golden["stats"]["paper_table2_as_n50"].as_object().unwrap();
        assert_eq!(table.len(), 4);
        for row in table.values() {
            let count = |at: usize| row["counts_of_50"][at].as_u64().unwrap() as usize;
            let undecided = 50 - count(0) - count(1);
            let answers = [(Some(0), count(0)), (Some(1), count(1)), (None, undecided)];
            let items = answers
                .map(|(wins, times)| vec![vec![wins]; times])
                .concat();
            let result = question_result("quality", &items, 100, 1);
            let paper = result.assuming_independent_answers;
            for (ours, name) in [
                (paper.p_two_proportions, "two_proportion_z_p"),
                (paper.p_fisher, "fisher_p"),
                (result.p_sign, "sign_test_p"),
            ] {
                let theirs = row[name].as_f64().unwrap();
                assert!(
                    (ours / theirs - 1.0).abs() < 1e-9,
                    "{name}: {ours} is not {theirs}"
                );
            }
        }
    }

    #[test]
    fn undecided_and_single_items_have_no_interval_where_it_is_undefined() {
        let result = question_result("quality", &[vec![None], vec![]], 100, 1);
        assert_eq!(
            (result.items, result.answers, result.items_won),
            (1, 1, [0, 0])
        );
        assert_eq!((result.p_sign, result.decided_win_rates), (1.0, None));
        assert_eq!(result.answer_win_rates[0].ci_low, None);
        assert!(result.item_win_rates[0].ci_high.unwrap() < 1.0);
        // A tie of two annotators is undecided.
        let tie = question_result("quality", &[vec![Some(0), Some(1)]], 100, 1);
        assert_eq!((tie.items_won, tie.won), ([0, 0], [1, 1]));
    }
}
