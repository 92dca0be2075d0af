//! Golden values of the statistics: `tests/fixtures/eval.json` and `stats.json`, computed with scipy, statsmodels
//! and reference scripts.

use serde_json::Value;

use super::bootstrap::{BootstrapIndices, percentile};
use super::clustered_error::se_clustered;
use polyphony_io::correlation::{pearson, spearman};

use super::correlation::{kendall, spearman_p};
use super::ellipse::{ellipse, ellipse_of_runs};
use super::mean::{cohen_dz, mean, normal_interval, sd, se, t_interval, t_test};
use super::multiple_testing::{benjamini_hochberg, holm};
use super::pareto::pareto_front;
use super::permutation::sign_flips;
use super::sign_test::{binomial_test, sign_test};
use super::two_counts::{fisher, two_proportions};
use super::two_level::TwoLevel;
use super::wilcoxon::wilcoxon;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/eval.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Asserts a difference of at most 1e-9; relative for values below 1.
fn near(ours: f64, golden: &Value) {
    let golden = golden.as_f64().unwrap();
    let scale = golden.abs().min(1.0);
    assert!(
        (ours - golden).abs() <= 1e-9 * scale,
        "{ours} is not {golden}"
    );
}

fn near_both(ours: [f64; 2], golden: &Value) {
    near(ours[0], &golden[0]);
    near(ours[1], &golden[1]);
}

#[test]
fn paired_differences() {
    let golden = golden();
    let stats = &golden["stats"];
    let (a, b) = (numbers(&stats["a"]), numbers(&stats["b"]));
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    near(mean(&a), &stats["mean_a"]);
    near(mean(&differences), &stats["mean_diff"]);
    near(sd(&differences), &stats["sd_diff_ddof1"]);
    near(se(&differences), &stats["se_diff"]);
    near_both(normal_interval(&differences), &stats["normal_ci95_diff"]);
    near_both(t_interval(&differences).unwrap(), &stats["t_ci95_diff"]);
    near(
        t_test(&differences).unwrap(),
        &stats["paired_t"]["p_two_sided"],
    );
    near(
        mean(&differences) / se(&differences),
        &stats["paired_t"]["t"],
    );
    near(cohen_dz(&differences), &stats["cohen_dz"]);

    let test = wilcoxon(&differences).unwrap();
    near(test.w, &stats["wilcoxon"]["W_min"]);
    near(test.p, &stats["wilcoxon"]["p_exact"]);
    near(
        test.p_normal,
        &stats["wilcoxon"]["p_normal_approx_no_continuity"],
    );

    let signs = sign_test(&differences);
    let expected = &stats["sign_test"];
    assert_eq!((signs.up, signs.down, signs.ties), (34, 6, 0));
    near(signs.p, &expected["p_exact_two_sided"]);

    let flips = sign_flips(&differences[..12], 0, 0);
    let expected = &stats["sign_flip_permutation_first12"];
    assert_eq!((flips.as_extreme, flips.tried), (50, 4096));
    near(flips.p, &expected["p_two_sided"]);
    // The p-value from random sign flips approximates the one from all sign flips.
    let sampled = sign_flips(&differences[..20], 100_000, 7);
    let all = (0..1_u32 << 20).filter(|choice| {
        let signed = differences[..20].iter().enumerate();
        let sum: f64 = signed
            .map(|(at, d)| if choice >> at & 1 == 1 { -d } else { *d })
            .sum();
        sum.abs() >= differences[..20].iter().sum::<f64>().abs() - 1e-12
    });
    let exact = all.count() as f64 / f64::from(1 << 20);
    assert!((sampled.p - exact).abs() < 0.002, "{} {exact}", sampled.p);

    near(spearman(&a, &b).unwrap(), &stats["spearman_ab"]["rho"]);
    let p = spearman_p(spearman(&a, &b).unwrap(), a.len()).unwrap();
    near(p, &stats["spearman_ab"]["p_t_approx"]);
    near(pearson(&a, &b).unwrap(), &stats["pearson_ab"]);
    near(kendall(&a, &b).unwrap(), &stats["kendall_tau_b_ab"]);

    let region = ellipse(&a, &b).unwrap();
    let expected = &stats["ci95_ellipse_of_mean"];
    near_both(region.center, &expected["center"]);
    near(region.angle, &expected["angle_deg_of_major_from_x"]);
    // The fixture has the half axes of a chi-squared region; those of Hotelling's are larger by the same factor.
    let chi_squared = numbers(&expected["semi_axes_major_minor"]);
    let factors = [0, 1].map(|axis| region.half_axes[axis] / chi_squared[axis]);
    near(factors[0], &Value::from(factors[1]));
    // Half axes and angle reproduce the covariance matrix of the mean.
    let (sin, cos) = region.angle.to_radians().sin_cos();
    let squared = |half: f64| (half / factors[0]).powi(2) / 5.991_464_547_107_979;
    let [long, short] = region.half_axes.map(squared);
    let covariance = &expected["cov_of_mean"];
    near(long * cos * cos + short * sin * sin, &covariance[0][0]);
    near((long - short) * sin * cos, &covariance[0][1]);
    near(long * sin * sin + short * cos * cos, &covariance[1][1]);
}

#[test]
fn intervals_and_regions_of_few_prompts_and_runs() {
    let golden = include_str!("../../../tests/fixtures/stats.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    let cases = |name: &str| golden[name].as_array().unwrap().clone();
    let levels = |value: &Value| -> Vec<Vec<f64>> {
        value.as_array().unwrap().iter().map(numbers).collect()
    };
    for case in cases("intervals") {
        let values = numbers(&case["values"]);
        let resamples = BootstrapIndices::new(values.len(), 999, 7);
        near_both(resamples.mean_interval(&values).unwrap(), &case["mean"]);
        let difference = resamples.difference_interval(&values).unwrap();
        near_both(difference, &case["difference"]);
    }
    for case in cases("hotelling") {
        let region = ellipse(&numbers(&case["x"]), &numbers(&case["y"])).unwrap();
        near_both(region.half_axes, &case["half_axes"]);
    }
    for case in cases("two_level") {
        let (prompts, runs) = (numbers(&case["prompts"]), levels(&case["runs"]));
        let runs: Vec<&[f64]> = runs.iter().map(Vec::as_slice).collect();
        let error = TwoLevel::new(&prompts, &runs).unwrap();
        near(error.se, &case["se"]);
        near_both(error.interval(mean(&prompts)), &case["interval"]);
        near(error.p(mean(&prompts)), &case["p"]);
    }
    for case in cases("ellipse_of_runs") {
        let (prompts, runs) = (levels(&case["prompts"]), levels(&case["runs"]));
        let both = |level: &[Vec<f64>]| [level[0].clone(), level[1].clone()];
        let (prompts, runs) = (both(&prompts), both(&runs));
        let region = ellipse_of_runs(
            prompts.each_ref().map(Vec::as_slice),
            runs.each_ref().map(Vec::as_slice),
        );
        near_both(region.unwrap().half_axes, &case["half_axes"]);
    }
}

#[test]
fn bootstrap_over_prompts() {
    let golden = golden();
    let stats = &golden["stats"];
    let (a, b) = (numbers(&stats["a"]), numbers(&stats["b"]));
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let expected = &stats["paired_bootstrap"];
    let resamples = BootstrapIndices::new(differences.len(), 2000, 7);
    let means = resamples.means(&differences);
    near(mean(&means), &expected["mean_of_means"]);
    near(sd(&means), &expected["se"]);
    let interval = [percentile(&means, 0.025), percentile(&means, 0.975)];
    near_both(interval, &expected["percentile_ci95_linear"]);
    let sorted = [means[49], means[1949]];
    near_both(sorted, &expected["percentile_ci95_order_stat_50_1950"]);
    assert!(means[0] > 0.0);
}

#[test]
fn groups_corrections_and_counts() {
    let golden = golden();
    let stats = &golden["stats"];
    let values = numbers(&stats["clustered"]["values_4_per_prompt"]);
    let groups: Vec<&[f64]> = values.chunks(4).collect();
    near(se(&values), &stats["clustered"]["se_naive"]);
    near(
        se_clustered(&groups),
        &stats["clustered"]["se_clustered_inspect"],
    );
    let means: Vec<f64> = groups.iter().map(|group| mean(group)).collect();
    near(se(&means), &stats["clustered"]["se_of_prompt_means"]);

    let corrections = &stats["corrections"];
    let mut p = numbers(&corrections["p_sorted"]);
    p.reverse();
    let backwards = |name: &str| {
        let mut values = numbers(&corrections[name]);
        values.reverse();
        values
    };
    for (ours, golden) in holm(&p).into_iter().zip(backwards("holm")) {
        near(ours, &Value::from(golden));
    }
    for (ours, golden) in benjamini_hochberg(&p)
        .into_iter()
        .zip(backwards("benjamini_hochberg"))
    {
        near(ours, &Value::from(golden));
    }

    let table = stats["paper_table2_as_n50"].as_object().unwrap();
    assert_eq!(table.len(), 4);
    for case in table.values() {
        let counts = numbers(&case["counts_of_50"]);
        let (a, b) = (counts[0] as usize, counts[1] as usize);
        near(two_proportions(a, b, 50), &case["two_proportion_z_p"]);
        near(fisher(a, b, 50), &case["fisher_p"]);
        near(binomial_test(a, b), &case["sign_test_p"]);
    }
}

#[test]
fn pareto_front_includes_ties() {
    let golden = golden();
    let case = &golden["misc"]["pareto"];
    // Compare the front as a set of names.
    let points = case["points"].as_object().unwrap();
    let values: Vec<[f64; 2]> = points
        .values()
        .map(|point| [point[0].as_f64().unwrap(), point[1].as_f64().unwrap()])
        .collect();
    let on_front = points
        .keys()
        .zip(pareto_front(&values))
        .filter(|(_, on)| *on);
    let mut ours: Vec<&str> = on_front.map(|(name, _)| name.as_str()).collect();
    let expected = case["front_in_input_order"].as_array().unwrap();
    let mut expected: Vec<&str> = expected.iter().map(|name| name.as_str().unwrap()).collect();
    ours.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ours, expected);
    assert_eq!(pareto_front(&[[f64::NAN, 1.0], [0.0, 0.0]]), [false, true]);
}
