//! Tests of runs and of primary measures: from several seeds of a model to the report.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::report::{story, write};
use super::reports::{model, near, report};
use super::support::{done, run, text};

/// Rows of one run of a model: four texts to each of ten prompts, with rewards around `center`.
fn rows(name: &str, seed: usize, center: f64) -> Vec<Value> {
    let texts = (0..40).map(|at| (at / 4, at % 4));
    let row = |(prompt, sample): (usize, usize)| {
        let number = prompt * 31 + sample * 17 + seed * 7 + name.len();
        json!({
            "model": name, "prompt_id": prompt, "prompt": format!("Prompt {prompt}"),
            "response": story(number, 20 + number % 30),
            "score": center + (number % 11) as f64 / 10.0,
        })
    };
    texts.map(row).collect()
}

/// The same rows with a value in another column.
fn with(rows: Vec<Value>, column: &str, value: impl Fn(usize) -> Value) -> Vec<Value> {
    let rows = rows.into_iter().enumerate();
    let changed = rows.map(|(at, mut row)| {
        row[column] = value(at);
        row
    });
    changed.collect()
}

fn eval(files: &[PathBuf], more: &[&str], out: &Path) -> Value {
    let files: Vec<&str> = files.iter().map(|file| text(file)).collect();
    done(&[&["eval"], &files[..], more, &["--out", text(out)]].concat());
    report(out)
}

#[test]
fn several_seeds_are_runs_of_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The centers of the runs lie further apart than the prompts of a run.
    let centers = [("dpo", [0.0, 1.0, 2.0]), ("ddpo", [1.0, 2.0, 3.0])];
    let mut files = Vec::new();
    for (name, centers) in centers {
        for (seed, center) in (1..).zip(centers) {
            let rows = with(rows(name, seed, center), "model", |_| Value::Null);
            files.push(write(folder.path(), &format!("{name}@{seed}.jsonl"), &rows));
        }
    }
    files.push(write(folder.path(), "base.jsonl", &rows("base", 4, 0.5)));
    let report = eval(&files, &[], &at("report"));
    let names: Vec<&Value> = report["models"].as_array().unwrap().iter().collect();
    let names: Vec<&str> = names
        .iter()
        .map(|of| of["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["base", "ddpo", "dpo"]);
    assert_eq!(model(&report, "base")["runs"], json!([]));
    let dpo = model(&report, "dpo");
    assert_eq!(
        (&dpo["prompts"], &dpo["responses"]),
        (&json!(10), &json!(120))
    );
    let runs = dpo["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    let means: Vec<f64> = runs
        .iter()
        .map(|run| run["values"]["reward"]["mean"].as_f64().unwrap())
        .collect();
    assert!(means[0] < 1.0 && 2.0 < means[2], "{means:?}");
    let reward = &dpo["values"]["reward"];
    near(&reward["mean"], means.iter().sum::<f64>() / 3.0, 9);
    // The standard error counts the runs: more than their standard deviation over the root of three.
    let sd = reward["sd_runs"].as_f64().unwrap();
    assert!(
        sd > 0.9 && reward["se"].as_f64().unwrap() > sd / 3.0_f64.sqrt(),
        "{reward}"
    );
    // A set of texts is of one run: the diversity of the model is the mean of that of its runs.
    let semantic: f64 = runs
        .iter()
        .map(|run| run["values"]["semantic"]["mean"].as_f64().unwrap())
        .sum();
    near(&dpo["values"]["semantic"]["mean"], semantic / 3.0, 9);

    let pairs = report["comparisons"].as_array().unwrap();
    let pair = pairs
        .iter()
        .find(|pair| pair["a"] == "ddpo" && pair["b"] == "dpo");
    let pair = pair.unwrap();
    assert_eq!(pair["runs"], json!([3, 3]));
    let difference = &pair["values"]["reward"];
    let of = |name: &str| difference[name].as_f64().unwrap();
    // All prompts agree, but three runs of each do not tell the models apart.
    assert!(of("p_permutation") < 0.01, "{difference}");
    assert!(
        of("p_runs") > 0.1 && of("p_holm") >= of("p_runs"),
        "{difference}"
    );
    assert!(of("ci_low") < 0.0 && 0.0 < of("ci_high"), "{difference}");
    let markdown = fs::read_to_string(at("report/report.md")).unwrap();
    assert!(
        markdown.contains("ddpo@1 | ddpo@2 | ddpo@3 | ddpo, sd"),
        "{markdown}"
    );
    let page = fs::read_to_string(at("report/report.html")).unwrap();
    assert!(page.contains("<bdi>dpo@3</bdi>"));
    let query = format!(
        "SELECT model, run, count(*) AS prompts, sum(responses) AS texts FROM '{}' \
         GROUP BY model, run ORDER BY model, run",
        text(&at("report/values.parquet"))
    );
    let counts = done(&["sql", "--format", "csv", "-c", &query]);
    assert_eq!(counts.lines().count(), 8, "{counts}");
    assert!(
        counts.contains("base,,10,40") && counts.contains("dpo,3,10,40"),
        "{counts}"
    );

    // A name with and without a seed is refused; a single seed stays part of the name.
    let named = format!("dpo={}", text(&files[6]));
    let arguments = ["eval", text(&files[0]), text(&files[1]), &named];
    let output = run(&[&arguments[..], &["--out", text(&at("refused"))]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has texts of `dpo` and of runs of it"),
        "{error}"
    );
    let single = eval(&files[..1], &[], &at("single"));
    assert_eq!(model(&single, "dpo@1")["runs"], json!([]));
}

#[test]
fn a_seed_column_makes_runs_unless_it_numbers_samples() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, rows: &[Value]| vec![write(folder.path(), name, rows)];
    let plain = eval(&write("m.jsonl", &rows("m", 1, 0.0)), &[], &at("plain"));
    let m = |report: &Value| model(report, "m").clone();
    // The seed of a run, or those of samples: as without the column.
    let constant = with(rows("m", 1, 0.0), "seed", |_| json!(42));
    let samples = with(rows("m", 1, 0.0), "seed", |at| json!(at % 4));
    for (name, rows) in [("constant", &constant), ("samples", &samples)] {
        let report = eval(&write(&format!("{name}.jsonl"), rows), &[], &at(name));
        assert_eq!(m(&report), m(&plain), "{name}");
        assert_eq!(report["warnings"], plain["warnings"], "{name}");
    }
    // Two seeds of four texts each are runs, in one file or in two.
    let second = |seed: u64| with(rows("m", 2, 1.0), "seed", |_| json!(seed));
    let both = write("both.jsonl", &[constant.clone(), second(7)].concat());
    let both = eval(&both, &[], &at("both"));
    assert_eq!(m(&both)["runs"][0]["seed"], "7");
    assert_eq!(
        m(&both)["runs"][1]["values"]["reward"]["mean"],
        m(&plain)["values"]["reward"]["mean"]
    );
    assert_eq!(both["options"]["k"], 4);
    let warnings = both["warnings"].to_string();
    assert!(warnings.contains("m: 2 runs (seeds 7, 42)"), "{warnings}");
    let two = [
        write("one.jsonl", &constant),
        write("two.jsonl", &second(7)),
    ]
    .concat();
    assert_eq!(m(&eval(&two, &[], &at("two"))), m(&both));
    // Two files of one model and one seed remain an error.
    let same = [
        write("one.jsonl", &constant),
        write("again.jsonl", &second(42)),
    ]
    .concat();
    let out = at("same");
    let arguments = ["eval", text(&same[0]), text(&same[1]), "--out", text(&out)];
    let error = String::from_utf8(run(&arguments).stderr).unwrap();
    assert!(error.contains("has texts of `m@42` to prompt 0"), "{error}");
    // A named column is taken at its word.
    let report = eval(
        &write("samples.jsonl", &samples),
        &["--columns", "seed=seed"],
        &at("named"),
    );
    assert_eq!(m(&report)["runs"].as_array().unwrap().len(), 4);
}

#[test]
fn corrections_cover_the_primary_measures_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = ["a", "bb"].map(|name| {
        let rows = rows(name, name.len(), name.len() as f64 / 9.0);
        write(folder.path(), &format!("{name}.jsonl"), &rows)
    });
    let all = eval(&files, &[], &at("all"));
    let primary = ["--primary", "semantic, reward,distinct_k"];
    let some = eval(&files, &primary, &at("some"));
    let of = |report: &Value, measure: &str, name: &str| {
        report["comparisons"][0]["values"][measure][name].clone()
    };
    // Holm's correction of two p-values: twice the smaller, then the larger.
    let raw = ["semantic", "reward"].map(|at| of(&some, at, "p_permutation").as_f64().unwrap());
    let (least, most) = (raw[0].min(raw[1]), raw[0].max(raw[1]));
    for (measure, p) in ["semantic", "reward"].into_iter().zip(raw) {
        let holm = if p == least {
            2.0 * least
        } else {
            most.max(2.0 * least)
        };
        near(&of(&some, measure, "p_holm"), holm.min(1.0), 12);
    }
    for measure in ["style", "homogenization", "words"] {
        assert!(of(&some, measure, "p_holm").is_null() && of(&some, measure, "p_bh").is_null());
        assert!(of(&all, measure, "p_holm").is_number());
    }
    let measures = some["measures"].as_array().unwrap().iter();
    let exploratory = measures.filter(|of| of["exploratory"] == true).count();
    assert_eq!(exploratory + 2, some["measures"].as_array().unwrap().len());
    assert_eq!(some["options"]["primary"], "reward,semantic,distinct_k");
    let warnings = some["warnings"].to_string();
    assert!(
        warnings.contains("Of the primary measures, distinct_k have no value."),
        "{warnings}"
    );
    let markdown = fs::read_to_string(at("some/report.md")).unwrap();
    assert!(
        markdown.contains("| Style diversity ↑ (exploratory) |"),
        "{markdown}"
    );
    let page = fs::read_to_string(at("some/report.html")).unwrap();
    assert!(page.contains("primary measures (reward,semantic,distinct_k)"));
    assert!(page.contains(">exploratory</td>"));
}
