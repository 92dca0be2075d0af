//! Replication on model outputs published with the DDPO paper: means, differences and significance tests equal
//! those of pandas, scipy and the published packages.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::program::{done, text};
use super::reports::{model, near, report};
use super::{Missing, root, shared};

pub(crate) fn measures_equal_the_published_values() -> Result<(), Missing> {
    let outputs = shared("data/outputs/replication")?;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    done(&[
        "eval",
        text(&outputs),
        "--semantic",
        "column:semantic_diversity",
        "--style",
        "column:style_diversity",
        "--reference-compat",
        "--out",
        text(&out),
    ]);
    let report = report(&out);
    assert_eq!(report["prompt_count"], 200);
    assert_eq!(report["options"]["k"], 4);
    // Mean and standard error over prompts, computed with pandas and the published packages.
    for (name, expected) in [
        (
            "baseline",
            [
                ("words", 419.0, 10.787),
                ("reward", 3.4223, 0.0357),
                ("semantic", 0.1692, 0.0039),
                ("style", 0.1846, 0.0059),
                ("homogenization", 0.1498, 0.0022),
                ("ngram_diversity", 3.4482, 0.0055),
                ("self_repetition", 0.8353, 0.054),
                ("self_bleu", 0.0425, 0.0028),
                ("reference_homogenization", 0.1126, 0.0017),
            ],
        ),
        (
            "DORPO_both",
            [
                ("words", 468.6, 11.587),
                ("reward", 3.1979, 0.0294),
                ("semantic", 0.3259, 0.0046),
                ("style", 0.5585, 0.0143),
                ("homogenization", 0.1022, 0.0009),
                ("ngram_diversity", 3.4628, 0.0047),
                ("self_repetition", 0.0792, 0.0127),
                ("self_bleu", 0.0106, 0.0003),
                ("reference_homogenization", 0.0766, 0.0007),
            ],
        ),
    ] {
        let values = &model(&report, name)["values"];
        for (measure, mean, se) in expected {
            let digits = if measure == "words" { 1 } else { 4 };
            near(&values[measure]["mean"], mean, digits);
            near(
                &values[measure]["se"],
                se,
                if measure == "words" { 2 } else { 4 },
            );
        }
        let ratio = values["reference_compression_ratio"]["mean"]
            .as_f64()
            .unwrap();
        let published = if name == "baseline" { 2.184 } else { 2.092 };
        assert!((ratio - published).abs() < 0.01, "{ratio}");
    }
    differences_equal_pandas_and_scipy(&report);
    // Lexical diversity correlates strongly with length: ranges of Spearman's rho, rounded to two digits.
    for (measure, low, high) in [
        ("reference_compression_ratio", 0.88, 0.93),
        ("ngram_diversity", -0.90, -0.84),
        ("semantic", -0.49, -0.40),
        ("homogenization", 0.17, 0.28),
        ("self_bleu", 0.34, 0.39),
        ("reward", 0.28, 0.36),
    ] {
        let rho = &model(&report, "DORPO_both")["values"][measure]["length_rho"];
        let rho = rho.as_f64().unwrap();
        assert!(
            (low - 0.005..high + 0.005).contains(&rho),
            "{measure}: {rho}"
        );
    }
    values_of_prompts_equal_the_packages(&out, &report);
    Ok(())
}

/// Paired differences over 200 prompts, computed with pandas and scipy.
fn differences_equal_pandas_and_scipy(report: &Value) {
    let difference = |measure: &str| &report["comparisons"][0]["values"][measure];
    assert_eq!(report["comparisons"][0]["a"], "DORPO_both");
    near(&difference("reward")["difference"], 0.2244, 4);
    near(&difference("semantic")["difference"], -0.1567, 4);
    assert_eq!(difference("semantic")["up"], 5);
    assert_eq!(difference("semantic")["down"], 195);
    near(&difference("style")["difference"], -0.3739, 4);
    near(&difference("homogenization")["difference"], 0.0476, 4);
    near(&difference("ngram_diversity")["difference"], -0.0145, 4);
    for (measure, se) in [
        ("reward", 0.0233),
        ("semantic", 0.0058),
        ("style", 0.0148),
        ("homogenization", 0.0025),
        ("ngram_diversity", 0.0066),
    ] {
        near(&difference(measure)["se"], se, 4);
    }
    // With equally many texts for each prompt, the clustered standard error equals that of the prompts' means.
    let reward = &model(report, "baseline")["values"]["reward"];
    let both = ["se", "se_clustered"].map(|name| reward[name].as_f64().unwrap());
    assert!((both[0] - both[1]).abs() < 1e-12, "{both:?}");
    near(&difference("ngram_diversity")["p_wilcoxon"], 0.21, 2);
    assert_eq!(difference("ngram_diversity")["up"], 100);
}

/// The values of every prompt in `values.parquet` equal those of the published packages
/// (`tests/peers/replication.py`), and their means equal the report's.
fn values_of_prompts_equal_the_packages(out: &Path, report: &Value) {
    let expected = fs::read(root().join("tests/fixtures/replication.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let query = format!(
        "SELECT model, prompt_id, reference_compression_ratio, homogenization, ngram_diversity FROM '{}'",
        text(&out.join("values.parquet"))
    );
    let stdout = done(&["sql", "--format", "csv", "-c", &query]);
    assert_eq!(stdout.lines().count(), 401);
    for row in stdout.lines().skip(1) {
        let row: Vec<&str> = row.split(',').collect();
        let expected = &expected[row[0]][row[1]];
        // The packages round to three decimal places, except homogenization; gzip's sizes may differ by some bytes.
        // Polyphony does not split words at letters outside a to z, rouge-score does.
        let homogenization_tolerance = if expected[3] == true { 2e-3 } else { 1e-9 };
        for (actual, expected, tolerance) in [
            (row[2], &expected[0], 0.01),
            (row[3], &expected[1], homogenization_tolerance),
            (row[4], &expected[2], 0.000_500_001),
        ] {
            let actual: f64 = actual.parse().unwrap();
            let expected = expected.as_f64().unwrap();
            assert!(
                (actual - expected).abs() <= tolerance,
                "{row:?}: {actual} for {expected}"
            );
        }
    }
    let query = format!(
        "SELECT model, count(*), sum(responses), avg(homogenization), avg(semantic) FROM '{}' \
         GROUP BY model ORDER BY model",
        text(&out.join("values.parquet"))
    );
    let stdout = done(&["sql", "--format", "csv", "-c", &query]);
    let rows = stdout.lines().skip(1).map(|row| row.split(',').collect());
    let rows: Vec<Vec<&str>> = rows.collect();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row[1..3], ["200", "800"]);
        for (column, measure) in [(3, "homogenization"), (4, "semantic")] {
            let mean = &model(report, row[0])["values"][measure]["mean"];
            let off = (row[column].parse::<f64>().unwrap() - mean.as_f64().unwrap()).abs();
            assert!(off < 1e-12, "{row:?} for {mean}");
        }
    }
}
