//! Tests of report fields: documented, complete for every measure, and correct for classes and distances.

use std::fs;

use polyphony_eval::measures::registry::{MEASURES, columns};
use serde_json::{Value, json};

use super::report::{rows, story, write};
use super::reports::{model, near, report};
use super::root;
use super::support::{done, run, text};

/// Names of models and measures are keys of the report, but not documented fields.
#[test]
fn readme_documents_every_field_of_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = folder.path().join("outputs");
    fs::create_dir(&outputs).unwrap();
    write(&outputs, "a.jsonl", &rows("a", 0..12, 4));
    write(&outputs, "b.jsonl", &rows("bb", 0..12, 4));
    write(&outputs, "c.jsonl", &rows("c@1", 0..12, 4));
    write(&outputs, "d.jsonl", &rows("c@2", 0..12, 4));
    let out = folder.path().join("report");
    // A model that overuses a phrase.
    let mut loud = rows("loud", 0..12, 4);
    for row in &mut loud {
        row["response"] =
            json!(row["response"].as_str().unwrap().to_owned() + ". A testament to it");
    }
    write(&outputs, "loud.jsonl", &loud);
    // Two scales of an adapter, and people.
    let mut scaled = rows("scaled", 0..24, 4);
    for (at, row) in scaled.iter_mut().enumerate() {
        row["adapter_scale"] = json!(at / 48);
    }
    write(&outputs, "scaled.jsonl", &scaled);
    let people = write(folder.path(), "people.jsonl", &rows("people", 0..12, 4));
    let gold = ["--gold", text(&people), "--out", text(&out)];
    done(&[&["eval", text(&outputs)], &gold[..]].concat());
    let report = report(&out);
    let of = |path: &str| {
        let object = report.pointer(path).unwrap_or_else(|| panic!("{path}"));
        object.as_object().unwrap().keys().cloned()
    };
    let paths = [
        "",
        "/inputs/0",
        "/measures/0",
        "/models/0",
        "/models/0/values/reward",
        "/models/0/ellipses/semantic",
        "/models/2/runs/0",
        "/models/2/runs/0/values/reward",
        "/comparisons/0",
        "/comparisons/0/values/semantic",
        "/cross_model_distance/0",
        "/adapter_curves/0",
        "/adapter_curves/0/points/0",
        "/closer_than_people/0",
        "/overused_terms/0",
        "/overused_terms/3/terms/0",
        "/overused_terms/3/terms/0/examples/0",
    ];
    let readme = fs::read_to_string(root().join("eval/README.md")).unwrap();
    let table = readme.split("## Report fields").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let words: Vec<&str> = table
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    for field in paths.iter().flat_map(|path| of(path)) {
        assert!(
            words.contains(&field.as_str()),
            "eval/README.md lacks `{field}`"
        );
    }
}

/// Equivalence classes from a column or by ROUGE-1, two models with the same texts, and reward ranges that do not
/// overlap.
#[test]
fn classes_distances_and_p_values_have_expected_values() {
    let folder = tempfile::tempdir().unwrap();
    let row = |model: &str, prompt: usize, sample: usize, seed: usize, class: usize, score: f64| {
        json!({
            "model": model, "prompt_id": prompt, "response": story(seed, 30), "partition": class,
            "score": score + (prompt % 3) as f64 / 10.0, "sample": sample,
        })
    };
    let mut all = Vec::new();
    for prompt in 0..8 {
        for sample in 0..3 {
            let seed = prompt * 50 + sample;
            // `one` has three different texts, `two` the same three, and `same` one text three times.
            all.push(row("one", prompt, sample, seed, sample, 4.0));
            all.push(row("two", prompt, sample, seed, sample, 4.0));
            all.push(row("same", prompt, sample, prompt * 50 + 9, 7, 1.0));
        }
    }
    let file = write(folder.path(), "all.jsonl", &all);
    let evaluated = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let arguments = ["eval", text(&file), "--out", text(&out)];
        let output = run(&[&arguments[..], more].concat());
        assert!(output.status.success());
        report(&out)
    };
    for report in [
        evaluated("given", &[]),
        evaluated("own", &["--equivalence", "rouge1"]),
    ] {
        let of =
            |name: &str, measure: &str| model(&report, name)["values"][measure]["mean"].clone();
        for (name, classes) in [("one", 3.0), ("two", 3.0), ("same", 1.0)] {
            assert_eq!(of(name, "distinct_k"), classes);
        }
        // (1 - 0.8) / (1 - 0.8^3) of the first reward of each class; rewards are 4.0, 4.1, 4.2 by prompt.
        near(&of("same", "utility_k"), 0.2 / 0.488 * (1.0 + 0.7 / 8.0), 9);
        near(&of("one", "utility_k"), 4.0 + 0.7 / 8.0, 9);
        let apart = |space: &str, a: &str, b: &str| {
            let all = report["cross_model_distance"].as_array().unwrap().iter();
            let mut found =
                all.filter(|row| row["space"] == space && row["a"] == a && row["b"] == b);
            found.next().unwrap()["distance"].as_f64().unwrap()
        };
        for space in ["semantic", "style"] {
            // Across equal sets of three texts, 3 of 9 pairs have distance 0, so the mean is 2/3 of that within.
            let (within, across) = (apart(space, "one", "one"), apart(space, "one", "two"));
            assert!(
                (across - within * 2.0 / 3.0).abs() < 1e-6,
                "{across} {within}"
            );
            assert!(apart(space, "same", "same").abs() < 1e-6);
        }
        // All eight differences have the same sign: the smallest p-value for eight signs, 2 / 2^8.
        let pairs = report["comparisons"].as_array().unwrap().iter();
        let found = pairs
            .clone()
            .find(|pair| pair["a"] == "one" && pair["b"] == "same");
        let reward = &found.unwrap()["values"]["reward"];
        assert_eq!((&reward["down"], &reward["ties"]), (&json!(8), &json!(0)));
        near(&reward["p_sign"], 2.0 / 256.0, 9);
        let p = |name: &str| reward[name].as_f64().unwrap();
        assert!(p("p_permutation") <= p("p_bh") && p("p_bh") <= p("p_holm") && p("p_holm") <= 1.0);
        // Models with larger values in both dimensions are on the Pareto front; the other one is not.
        for (name, is_on) in [("one", true), ("two", true), ("same", false)] {
            assert_eq!(
                model(&report, name)["on_front"]["semantic"],
                is_on,
                "{name}"
            );
        }
        let warnings = report["warnings"].as_array().unwrap().iter();
        let warnings: Vec<&str> = warnings.filter_map(Value::as_str).collect();
        let disjoint = warnings
            .iter()
            .find(|warning| warning.contains("are below those of"));
        assert!(
            disjoint.is_some_and(|warning| warning.contains("same (1.000 to 1.200,")),
            "{warnings:?}"
        );
    }
}

/// Every measure in the registry is an SQL aggregate, and every column is in all files of the report.
#[test]
fn every_registered_measure_is_in_sql_and_in_all_report_files() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = write(folder.path(), "m.jsonl", &rows("m", 0..6, 3));
    let out = folder.path().join("report");
    let more = ["--equivalence", "rouge1", "--reference-compat"];
    let arguments = ["eval", text(&outputs), "--out", text(&out)];
    done(&[&arguments[..], &more].concat());
    let report = report(&out);
    let file = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let (markdown, page) = (file("report.md"), file("report.html"));
    let parquet = format!("DESCRIBE '{}'", text(&out.join("values.parquet")));
    let parquet = done(&["sql", "--format", "csv", "-c", &parquet]);
    for column in columns() {
        let name = column.name;
        let value = &model(&report, "m")["values"][name]["mean"];
        assert!(value.is_number(), "report.json lacks {name}");
        let row = format!("| {}", column.title);
        let row = markdown.lines().find(|line| line.starts_with(&row));
        assert!(
            row.is_some_and(|row| !row.contains("n/a")),
            "report.md lacks {name}"
        );
        let cell = format!("data-measure=\"{name}\"");
        assert!(page.contains(&cell), "report.html lacks {name}");
        let field = format!("{name},");
        assert!(
            parquet.lines().any(|line| line.starts_with(&field)),
            "values.parquet lacks {name}"
        );
    }
    assert_eq!(
        report["measures"].as_array().unwrap().len(),
        columns().len()
    );

    let calls = MEASURES.iter().map(|measure| {
        let arguments = match measure.function.input() {
            "texts" => "t",
            "embeddings" => "v",
            "classes" => "c",
            "classes, utilities" => "c, u",
            "rewards" => "u",
            other => panic!("{other}"),
        };
        format!(
            "{}({arguments}) IS NOT NULL AS {}",
            measure.name, measure.name
        )
    });
    let calls: Vec<String> = calls.collect();
    let query = format!(
        "SELECT {} FROM (VALUES ('a b c d e', [1.0, 0.0], 0, 5.0), ('a b c d f', [1.0, 1.0], 1, 6.0)) AS s (t, v, c, u)",
        calls.join(", ")
    );
    let defined = done(&["sql", "--format", "csv", "-c", &query]);
    let values = defined.lines().nth(1).unwrap();
    assert!(values.split(',').all(|value| value == "true"), "{defined}");
}
