//! Is what models wrote judged as it should be, whatever the files hold?

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::root;
use super::support::{bytes, done, run, skipped, text};

pub(crate) fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

pub(crate) fn model<'a>(report: &'a Value, name: &str) -> &'a Value {
    let models = report["models"].as_array().unwrap();
    models.iter().find(|model| model["name"] == name).unwrap()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{row}");
        text
    })
}

/// A story of some words that nobody else has.
pub(crate) fn story(seed: usize, words: usize) -> String {
    let word = |at: usize| format!("w{}", (seed * 7919 + at * 104_729) % 997);
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// `samples` rows to each of `prompts` prompts.
pub(crate) fn rows(model: &str, prompts: std::ops::Range<usize>, samples: usize) -> Vec<Value> {
    let place = |prompt: usize| (0..samples).map(move |sample| (prompt, sample));
    let row = |(prompt, sample): (usize, usize)| {
        let seed = prompt * 31 + sample * 17 + model.len();
        json!({
            "model": model, "prompt_id": prompt, "prompt": format!("Prompt {prompt}"),
            "response": story(seed, 20 + seed % 30), "score": (seed % 11) as f64 / 2.0,
        })
    };
    prompts.flat_map(place).map(row).collect()
}

pub(crate) fn write(folder: &Path, name: &str, rows: &[Value]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines(rows)).unwrap();
    path
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data/outputs").join(path);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("there is no {}", path.display()));
    None
}

/// Whether a value is what is known to so many digits.
pub(crate) fn near(value: &Value, expected: f64, digits: i32) {
    let value = value.as_f64().unwrap();
    let tolerance = 0.5001 * 10_f64.powi(-digits);
    assert!(
        (value - expected).abs() <= tolerance,
        "{value} is not {expected}"
    );
}

#[test]
fn real_outputs_have_the_values_published_with_them() {
    let Some(outputs) = shared("replication") else {
        return;
    };
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
    // Means and standard errors over prompts, made with pandas and the published packages.
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
    differences_are_those_of_the_notes(&report);
    // Much of what looks like diversity of words is length: the notes' ranges, of two digits.
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
    every_prompt_stands_for_itself(&out, &report);
}

/// Paired over 200 prompts, made with pandas and scipy.
fn differences_are_those_of_the_notes(report: &Value) {
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
    // With as many texts to each prompt the clustered error is that of the prompts' means.
    let reward = &model(report, "baseline")["values"]["reward"];
    let both = ["se", "se_clustered"].map(|name| reward[name].as_f64().unwrap());
    assert!((both[0] - both[1]).abs() < 1e-12, "{both:?}");
    near(&difference("ngram_diversity")["p_wilcoxon"], 0.21, 2);
    assert_eq!(difference("ngram_diversity")["up"], 100);
}

/// What `values.parquet` has of every prompt adds up to the report's means, and is what the published
/// packages find there (`tests/peers/replication.py`).
fn every_prompt_stands_for_itself(out: &Path, report: &Value) {
    let known = fs::read(root().join("tests/fixtures/replication.json")).unwrap();
    let known: Value = serde_json::from_slice(&known).unwrap();
    let query = format!(
        "SELECT model, prompt_id, reference_compression_ratio, homogenization, ngram_diversity FROM '{}'",
        text(&out.join("values.parquet"))
    );
    let said = done(&["sql", "--format", "csv", "-c", &query]);
    assert_eq!(said.lines().count(), 401);
    for row in said.lines().skip(1) {
        let row: Vec<&str> = row.split(',').collect();
        let known = &known[row[0]][row[1]];
        // The packages round to three digits, but for homogenization's; gzip may differ by some bytes.
        // Words with letters beyond a to z are whole here, and cut there.
        let of_words = if known[3] == true { 2e-3 } else { 1e-9 };
        for (given, known, off) in [
            (row[2], &known[0], 0.01),
            (row[3], &known[1], of_words),
            (row[4], &known[2], 0.000_500_001),
        ] {
            let given: f64 = given.parse().unwrap();
            let known = known.as_f64().unwrap();
            assert!((given - known).abs() <= off, "{row:?}: {given} for {known}");
        }
    }
    let query = format!(
        "SELECT model, count(*), sum(responses), avg(homogenization), avg(semantic) FROM '{}' \
         GROUP BY model ORDER BY model",
        text(&out.join("values.parquet"))
    );
    let said = done(&["sql", "--format", "csv", "-c", &query]);
    let rows = said.lines().skip(1).map(|row| row.split(',').collect());
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

#[test]
fn the_same_files_and_seed_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = folder.path().join("outputs");
    fs::create_dir(&outputs).unwrap();
    write(&outputs, "a.jsonl", &rows("a", 0..12, 5));
    write(&outputs, "b.jsonl", &rows("bb", 0..12, 4));
    let out = |name: &str| folder.path().join(name);
    for name in ["one", "two"] {
        done(&["eval", text(&outputs), "--out", text(&out(name))]);
    }
    let (one, two) = (bytes(&out("one")), bytes(&out("two")));
    assert!(one.len() > 20);
    assert_eq!(one, two);
    // Vectors that are there already are taken, and change nothing.
    done(&["eval", text(&outputs), "--out", text(&out("one"))]);
    assert_eq!(bytes(&out("one")), two);
    // Five to a prompt are as many as four: some are drawn, by seed.
    let report = report(&out("one"));
    assert_eq!(report["options"]["k"], 4);
    assert_eq!(model(&report, "a")["responses"], 48);
    done(&[
        "eval",
        text(&outputs),
        "--out",
        text(&out("two")),
        "--seed",
        "7",
    ]);
    assert_ne!(bytes(&out("one")), bytes(&out("two")));
}

#[test]
fn what_is_undefined_is_shown_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let several = write(folder.path(), "several.jsonl", &rows("several", 0..8, 3));
    let once = write(folder.path(), "once.jsonl", &rows("once", 2..10, 1));
    let out = folder.path().join("report");
    let table = done(&["eval", text(&several), text(&once), "--out", text(&out)]);
    assert!(table.contains("n/a"), "{table}");
    let report = report(&out);
    let values = &model(&report, "once")["values"];
    assert!(values["semantic"].is_null() && values["homogenization"].is_null());
    assert!(values["reward"]["mean"].is_number() && values["words"]["mean"].is_number());
    // Six prompts are those of both.
    let comparison = &report["comparisons"][0];
    assert_eq!(comparison["prompts"], 6);
    assert_eq!(comparison["values"]["reward"]["prompts"], 6);
    assert!(comparison["values"]["semantic"].is_null());
    let notices = report["notices"].to_string();
    assert!(
        notices.contains("once has fewer than 3 texts to 8 prompts"),
        "{notices}"
    );
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("n/a"));
}

#[test]
fn whatever_the_texts_are_they_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut odd = rows("odd", 0..6, 3);
    odd[0]["response"] = json!("");
    odd[1]["response"] = json!("word ".repeat(200_000));
    odd[2]["response"] =
        json!("<script>hacked = 1</script><img src=x onerror=alert(1)>&amp;\u{202e}");
    odd[3]["response"] = json!("雪の王は毎年春に溶ける。");
    odd[4]["score"] = json!("NaN");
    odd[5]["score"] = Value::Null;
    // The same row twice, which a sample's number tells from the same text twice.
    for (sample, row) in odd.iter_mut().enumerate() {
        row["sample"] = json!(sample % 3);
    }
    odd.push(odd[7].clone());
    let odd = write(folder.path(), "odd.jsonl", &odd);
    let plain = write(folder.path(), "plain.jsonl", &rows("plain", 0..6, 3));
    let out = folder.path().join("report");
    done(&["eval", text(&odd), text(&plain), "--out", text(&out)]);
    let report = report(&out);
    assert_eq!(model(&report, "odd")["responses"], 18);
    let notices = report["notices"].to_string();
    for said in [
        "1 times a row that stands there twice",
        "1 times a score that is no number",
        "1 times an empty text",
    ] {
        assert!(notices.contains(said), "{notices}");
    }
    // A prompt with a text without a reward has none.
    assert_eq!(model(&report, "odd")["values"]["reward"]["prompts"], 5);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("<script>hacked") && !page.contains("<img"));
    assert!(page.contains("\\u003cscript\\u003ehacked"));
    for file in ["report.md", "report.html"] {
        assert!(fs::metadata(out.join(file)).unwrap().len() > 1000);
    }
}

#[test]
fn people_are_judged_beside_models() {
    let folder = tempfile::tempdir().unwrap();
    let models = write(folder.path(), "m.jsonl", &rows("m", 0..6, 3));
    let people: Vec<Value> = rows("who", 0..9, 4)
        .into_iter()
        .map(|mut row| {
            // Other ids, the same prompts.
            row["prompt_id"] = json!(format!("t3_{}", row["prompt_id"]));
            row
        })
        .collect();
    let people = write(folder.path(), "people.jsonl", &people);
    let out = folder.path().join("report");
    done(&[
        "eval",
        text(&models),
        "--gold",
        text(&people),
        "--out",
        text(&out),
    ]);
    let report = report(&out);
    let gold = model(&report, "gold");
    assert_eq!((&gold["gold"], &gold["prompts"]), (&json!(true), &json!(6)));
    assert!(gold["values"]["semantic"]["mean"].is_number());
    // Votes are no rewards.
    assert!(gold["values"]["reward"].is_null());
    assert_eq!(gold["responses"], 18);

    let store = folder.path().join("store");
    done(&[
        "ingest",
        text(&root().join("data")),
        "--store",
        text(&store),
    ]);
    let asked = done(&[
        "sql",
        "--store",
        text(&store),
        "--format",
        "ndjson",
        "-c",
        "SELECT prompt, text AS response, 'copy' AS model FROM responses \
         JOIN prompts ON prompts.prompt_id = responses.prompt_id",
    ]);
    let copies = folder.path().join("copies.jsonl");
    fs::write(&copies, asked).unwrap();
    let out = folder.path().join("copied");
    done(&[
        "eval",
        text(&copies),
        "--gold",
        text(&store),
        "--k",
        "4",
        "--out",
        text(&out),
    ]);
    let report = self::report(&out);
    let prompts = |name: &str| model(&report, name)["prompts"].clone();
    assert_eq!(prompts("copy"), prompts("gold"));
    let refused = run(&[
        "eval",
        text(&models),
        "--gold",
        text(&store),
        "--out",
        text(&out),
    ]);
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn people_see_no_names_and_their_answers_count() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = ["alpha", "beta"].map(|name| {
        let mut rows = rows(name, 0..60, 4);
        rows[0]["response"] = json!("=cmd() <b>bold</b> \"quoted\"");
        write(folder.path(), &format!("{name}.jsonl"), &rows)
    });
    let sheet = at("sheet");
    let words = [
        "study",
        "sheet",
        text(&files[0]),
        text(&files[1]),
        "--models",
        "alpha,beta",
    ];
    let more = ["--items", "50", "--texts", "2", "--out", text(&sheet)];
    done(&[&words[..], &more].concat());
    let key: Value = serde_json::from_slice(&fs::read(sheet.join("key.json")).unwrap()).unwrap();
    let items = key["items"].as_object().unwrap();
    assert_eq!(items.len(), 50);
    // Each is on each side as often, and no file that people see says where.
    assert_eq!(items.values().filter(|item| item["a"] == 0).count(), 25);
    for file in ["sheet.jsonl", "sheet.csv"] {
        let shown = fs::read_to_string(sheet.join(file)).unwrap();
        assert!(
            !shown.contains("alpha") && !shown.contains("beta"),
            "{file}"
        );
        assert!(!shown.contains("\"=cmd"), "a spreadsheet would run it");
    }
    let lines = fs::read_to_string(sheet.join("sheet.jsonl")).unwrap();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(!line["text"].as_str().unwrap().contains('<'));
        assert_eq!(line["a"].as_array().unwrap().len(), 2);
    }
    // The paper's table: of fifty, 34 for the one and 12 for the other, four undecided.
    let mut answers = String::from("id,annotator,quality,diversity\n");
    for (number, (id, item)) in items.iter().enumerate() {
        let of_model = |model: u64| if item["a"] == model { "A" } else { "b" };
        let quality = match number {
            0..34 => format!("{}-2", of_model(0)),
            34..46 => of_model(1).to_owned(),
            _ => "Hard to decide".to_owned(),
        };
        let _ = writeln!(answers, "{id},me,{quality},{}", of_model(0));
    }
    fs::write(at("answers.csv"), &answers).unwrap();
    let (key, verdict) = (sheet.join("key.json"), at("verdict.json"));
    let read = [
        "study",
        "read",
        text(&at("answers.csv")),
        "--key",
        text(&key),
    ]
    .map(str::to_owned);
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    let said = done(&[&read[..], &["--out", text(&verdict)]].concat());
    assert!(
        said.contains("alpha 68 %, beta 24 %, undecided 8 % of 50 answers"),
        "{said}"
    );
    let verdict: Value = serde_json::from_slice(&fs::read(&verdict).unwrap()).unwrap();
    let golden = fs::read(root().join("tests/fixtures/eval.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let golden = &golden["stats"]["paper_table2_as_n50"]["quality_vs_gpt4o"];
    let quality = &verdict["verdicts"][0];
    for (ours, theirs) in [
        ("p_two_proportions", "two_proportion_z_p"),
        ("p_fisher", "fisher_p"),
        ("p_sign", "sign_test_p"),
    ] {
        let (ours, theirs) = (
            quality[ours].as_f64().unwrap(),
            golden[theirs].as_f64().unwrap(),
        );
        assert!((ours / theirs - 1.0).abs() < 1e-9, "{ours} is not {theirs}");
    }
    // One person cannot disagree.
    assert!(quality["alpha"].is_null());

    fs::write(
        at("answers.csv"),
        answers.replace("Hard to decide", "dunno"),
    )
    .unwrap();
    assert_eq!(run(&read).status.code(), Some(1));
}
