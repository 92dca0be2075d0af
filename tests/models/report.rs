//! Tests of `eval` and `study` from the command line to the report and the study result, with published values.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use polyphony_io::random::SplitMix64;
use serde_json::{Value, json};

use super::reports::{self, model, report};
use super::root;
use super::support::{bytes, done, run, text};

/// Formats rows as JSON lines.
fn lines(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{row}");
        text
    })
}

/// Writes rows as JSON lines to the file `name` in a folder; returns its path.
pub(crate) fn write(folder: &Path, name: &str, rows: &[Value]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines(rows)).unwrap();
    path
}

/// A pseudo-random story of `words` words, different for each seed.
pub(crate) fn story(seed: usize, words: usize) -> String {
    let word = |at: usize| format!("w{}", (seed * 7919 + at * 104_729) % 997);
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// Rows of a model: `samples` rows for each prompt number in `prompts`.
pub(crate) fn rows(model: &str, prompts: std::ops::Range<usize>, samples: usize) -> Vec<Value> {
    let indices = |prompt: usize| (0..samples).map(move |sample| (prompt, sample));
    let row = |(prompt, sample): (usize, usize)| {
        let seed = prompt * 31 + sample * 17 + model.len();
        json!({
            "model": model, "prompt_id": prompt, "prompt": format!("Prompt {prompt}"),
            "response": story(seed, 20 + seed % 30), "score": (seed % 11) as f64 / 2.0,
        })
    };
    prompts.flat_map(indices).map(row).collect()
}

#[test]
fn report_is_byte_identical_for_same_files_and_seed() {
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
    // A second run reuses the stored embeddings, with the same result.
    done(&["eval", text(&outputs), "--out", text(&out("one"))]);
    assert_eq!(bytes(&out("one")), two);
    // k is 4, so four of the five texts of model `a` are sampled per prompt, by random seed.
    let report = report(&out("one"));
    assert_eq!(report["options"]["k"], 4);
    assert_eq!(model(&report, "a")["responses"], 48);
    let two = out("two");
    let arguments = ["eval", text(&outputs), "--out", text(&two), "--seed", "7"];
    done(&arguments);
    let texts = |name: &str| fs::read(out(name).join("outputs.parquet")).unwrap();
    assert!(
        texts("one") != texts("two"),
        "another seed samples other texts"
    );
    let interval = |name: &str| {
        let report = reports::report(&out(name));
        // `bb` has four texts per prompt, so its texts are the same and only the bootstrap resamples differ.
        model(&report, "bb")["values"]["reward"]["ci_low"].clone()
    };
    assert_ne!(interval("one"), interval("two"));
}

#[test]
fn undefined_values_are_null_in_json_and_not_available_in_page() {
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
    // Six prompts have texts of both models.
    let comparison = &report["comparisons"][0];
    assert_eq!(comparison["prompts"], 6);
    assert_eq!(comparison["values"]["reward"]["prompts"], 6);
    assert!(comparison["values"]["semantic"].is_null());
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("once: fewer than 3 texts to 8 prompts"),
        "{warnings}"
    );
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let row = page.split("data-value=\"once\"").nth(1).unwrap();
    let row = row.split("</tr>").next().unwrap();
    // Two spaces with four measures each, and eight lexical measures.
    assert!(row.matches(">n/a<").count() >= 16, "{row}");
}

#[test]
fn unusual_texts_are_evaluated_and_escaped_in_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut odd = rows("odd", 0..6, 3);
    odd[0]["response"] = json!("");
    odd[1]["response"] = json!("word ".repeat(200_000));
    odd[2]["response"] =
        json!("<script>hacked = 1</script><img src=x onerror=alert(1)>&amp;\u{202e}");
    odd[3]["response"] = json!("雪の王は毎年春に溶ける。");
    odd[4]["score"] = json!("NaN");
    odd[5]["score"] = Value::Null;
    // With sample numbers, a repeated row is a duplicate, and not an equal text of another sample.
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
    let warnings = report["warnings"].to_string();
    for warning in [
        "1 duplicate row skipped (odd.jsonl:19).",
        "1 score ignored: not a number (odd.jsonl:5).",
        "1 text is empty, and evaluated as such (odd.jsonl:1).",
        "odd: 1 of 18 texts loop",
    ] {
        assert!(warnings.contains(warning), "{warnings}");
    }
    // One looping text of 18 is more than one in twenty.
    assert_eq!(model(&report, "odd")["loops"], true);
    assert_eq!(model(&report, "plain")["loops"], false);
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("odd (loops)") && !markdown.contains("plain (loops)"));
    // The reward of a prompt is undefined if one of its texts has no reward.
    assert_eq!(model(&report, "odd")["values"]["reward"]["prompts"], 5);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("<script>hacked") && !page.contains("<img"));
    assert!(page.contains("\\u003cscript\\u003ehacked"));
    assert!(page.contains("data-value=\"odd\"") && page.contains("data-value=\"plain\""));
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        markdown.contains("|  | odd (loops) | plain |"),
        "{markdown}"
    );
}

#[test]
fn human_texts_are_evaluated_as_model_gold() {
    let folder = tempfile::tempdir().unwrap();
    let models = write(folder.path(), "m.jsonl", &rows("m", 0..6, 3));
    let people: Vec<Value> = rows("who", 0..9, 4)
        .into_iter()
        .map(|mut row| {
            // Different prompt ids, the same prompt texts.
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
    // Votes are not read as rewards.
    assert!(gold["values"]["reward"].is_null());
    assert_eq!(gold["responses"], 18);

    let store = folder.path().join("store");
    done(&[
        "ingest",
        text(&root().join("data")),
        "--store",
        text(&store),
    ]);
    let responses = done(&[
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
    fs::write(&copies, responses).unwrap();
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
    let report = reports::report(&out);
    let prompts = |name: &str| model(&report, name)["prompts"].clone();
    assert_eq!(prompts("copy"), prompts("gold"));
    let output = run(&[
        "eval",
        text(&models),
        "--gold",
        text(&store),
        "--out",
        text(&out),
    ]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn means_over_pairs_count_every_prompt_of_people_with_two_texts() {
    let folder = tempfile::tempdir().unwrap();
    // Of people, half of the prompts have two texts, a quarter one: means over pairs count all with two.
    let few: Vec<Value> = rows("who", 0..8, 4)
        .into_iter()
        .enumerate()
        .filter(|(at, _)| match at / 4 % 4 {
            0 | 1 => at % 4 < 2,
            2 => at % 4 < 1,
            _ => true,
        })
        .map(|(_, row)| row)
        .collect();
    let few = write(folder.path(), "few.jsonl", &few);
    let models = write(folder.path(), "eight.jsonl", &rows("m", 0..8, 4));
    let out = folder.path().join("few");
    let arguments = ["eval", text(&models), "--gold", text(&few)];
    done(&[&arguments[..], &["--out", text(&out)]].concat());
    let report = report(&out);
    let gold = &model(&report, "gold")["values"];
    for name in ["semantic", "style", "homogenization"] {
        assert_eq!(gold[name]["prompts"], 6, "{name}");
        assert_eq!(report["comparisons"][0]["values"][name]["prompts"], 6);
    }
    for name in ["semantic_vendi", "self_bleu", "compression_ratio"] {
        assert_eq!(gold[name]["prompts"], 2, "{name}");
    }
    assert_eq!(gold["words"]["prompts"], 8);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("gold: one text to 2 prompts"),
        "{warnings}"
    );
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    let line = markdown
        .lines()
        .find(|line| line.starts_with("| Semantic diversity"));
    assert!(line.unwrap().contains(", n = 6"), "{markdown}");
}

#[test]
fn sheets_are_blinded_and_answers_reproduce_published_p_values() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = ["alpha", "beta"].map(|name| {
        let mut rows = rows(name, 0..60, 4);
        rows[0]["response"] = json!("=cmd() <b>bold</b> \"quoted\"");
        write(folder.path(), &format!("{name}.jsonl"), &rows)
    });
    let sheet = at("sheet");
    let arguments = [
        "study",
        "sheet",
        text(&files[0]),
        text(&files[1]),
        "--models",
        "alpha,beta",
    ];
    let more = ["--items", "50", "--texts", "2", "--out", text(&sheet)];
    done(&[&arguments[..], &more].concat());
    let key: Value = serde_json::from_slice(&fs::read(sheet.join("key.json")).unwrap()).unwrap();
    let items = key["items"].as_object().unwrap();
    assert_eq!(items.len(), 50);
    // Each model is on each side equally often, and the files for annotators have no model names.
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
    // Counts of the paper's table: of 50 answers 34 are for one model, 12 for the other, and 4 undecided.
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
    let (key, result) = (sheet.join("key.json"), at("result.json"));
    let read = [
        "study",
        "read",
        text(&at("answers.csv")),
        "--key",
        text(&key),
    ]
    .map(str::to_owned);
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    let summary = done(&[&read[..], &["--out", text(&result)]].concat());
    let all =
        "all 50 items  alpha 34 = 68 % (54 % to 79 %); beta 12 = 24 % (14 % to 37 %); undecided 4";
    assert!(summary.contains(all), "{summary}");
    let first = "quality: p 0.0016 (sign test over 46 decided items)";
    assert!(summary.starts_with(first), "{summary}");
    assert!(summary.contains("no valid p-values"), "{summary}");
    let result: Value = serde_json::from_slice(&fs::read(&result).unwrap()).unwrap();
    let golden = fs::read(root().join("tests/fixtures/eval.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let golden = &golden["stats"]["paper_table2_as_n50"]["quality_vs_gpt4o"];
    let quality = &result["questions"][0];
    let paper = &quality["assuming_independent_answers"];
    for (ours, theirs) in [
        (&paper["p_two_proportions"], "two_proportion_z_p"),
        (&paper["p_fisher"], "fisher_p"),
        (&quality["p_sign"], "sign_test_p"),
    ] {
        let (ours, theirs) = (ours.as_f64().unwrap(), golden[theirs].as_f64().unwrap());
        assert!((ours / theirs - 1.0).abs() < 1e-9, "{ours} is not {theirs}");
    }
    // Agreement is undefined for a single annotator.
    assert!(quality["alpha"].is_null());

    fs::write(
        at("answers.csv"),
        answers.replace("Hard to decide", "dunno"),
    )
    .unwrap();
    assert_eq!(run(&read).status.code(), Some(1));
}

/// People against people: half of the stories to each prompt as a model, the others as gold.
#[test]
fn people_are_as_diverse_as_people_in_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut stories = rows("people", 0..40, 8);
    let mut random = SplitMix64(5);
    for prompt in stories.chunks_mut(8) {
        random.shuffle(prompt);
    }
    let half = |part: usize| {
        let halves = stories.chunks(4).skip(part).step_by(2);
        halves.collect::<Vec<_>>().concat()
    };
    let model_half = write(folder.path(), "half.jsonl", &half(0));
    let other_half = write(folder.path(), "gold.jsonl", &half(1));
    // A model that writes the same story again, with another end.
    let same: Vec<Value> = rows("same", 0..40, 4)
        .into_iter()
        .enumerate()
        .map(|(at, mut row)| {
            row["response"] = json!(format!("{} {}", story(at / 4, 30), story(at, 4)));
            row
        })
        .collect();
    let same = write(folder.path(), "same.jsonl", &same);
    let out = folder.path().join("report");
    let half = format!("half={}", text(&model_half));
    let arguments = ["eval", &half, text(&same), "--gold", text(&other_half)];
    let printed = done(&[&arguments[..], &["--out", text(&out)]].concat());
    let report = report(&out);
    let entry = |space: &str, a: &str, b: &str| {
        let entries = report["closer_than_people"].as_array().unwrap().iter();
        let mut found = entries.filter(|e| e["space"] == space && e["a"] == a && e["b"] == b);
        found.next().unwrap().clone()
    };
    for space in ["semantic", "style"] {
        let half = entry(space, "half", "half");
        assert_eq!(half["prompts"], 40);
        let number = |name: &str| half[name].as_f64().unwrap();
        // The interval is four standard errors wide.
        let width = number("ci_high") - number("ci_low");
        assert!(
            (number("share") - 0.5).abs() < width && width < 0.2,
            "{half}"
        );
    }
    let same = entry("semantic", "same", "same");
    assert!(same["ci_low"].as_f64().unwrap() > 0.95, "{same}");
    assert_eq!(report["closer_than_people"].as_array().unwrap().len(), 6);
    let mut lines = printed.lines();
    let line = lines.find(|line| line.starts_with("same") && line.contains('%'));
    let line = line
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(line.starts_with("same 100 % (100 % to 100 %)"), "{printed}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let page: String = page.replace("&nbsp;", " ");
    let sentence = "100 % of pairs of <bdi>same</bdi>’s stories are closer than two people’s stories to the \
                    same prompt (95 % CI 100 % to 100 %); in style, 100 %";
    assert!(page.contains(sentence));
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("| same | same | semantic | 100 % (100 % to 100 %) | 40 |"));
    // Without people there is nothing to compare with.
    done(&["eval", arguments[1], "--out", text(&out)]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("id=\"closer\""));
}

/// Outputs at several scales of an adapter: one file a scale, or all in one file.
#[test]
fn scales_of_an_adapter_are_a_curve() {
    let folder = tempfile::tempdir().unwrap();
    let scaled = |name: &str, scale: f64| -> Vec<Value> {
        let mut rows = rows("ddpo", 0..8, 3);
        for (at, row) in rows.iter_mut().enumerate() {
            row["model"] = json!(name);
            row["adapter_scale"] = json!(scale);
            row["score"] = json!(scale * 4.0 + (at % 3) as f64);
            row["response"] = json!(story(at + (scale * 100.0) as usize, 20));
        }
        rows
    };
    let curve = |report: &Value| report["adapter_curves"].clone();
    let expected = |models: [&str; 3]| {
        let points = models.into_iter().zip([0.0, 0.25, 0.5]);
        let points = points.map(|(model, scale)| json!({"model": model, "adapter_scale": scale}));
        json!([{"adapter": "ddpo", "points": points.collect::<Vec<_>>()}])
    };
    let with_scale = ["ddpo@scale=0", "ddpo@scale=0.25", "ddpo@scale=0.5"];
    let out = folder.path().join("report");
    // Names with a scale, as `generate` writes them; the order of files does not matter.
    let files = [(0.5, "c"), (0.0, "a"), (0.25, "b")].map(|(scale, file)| {
        let rows = scaled(&format!("ddpo@scale={scale}"), scale);
        write(folder.path(), &format!("{file}.jsonl"), &rows)
    });
    let paths = files.iter().map(|path| text(path));
    done(
        &[
            &["eval"],
            &paths.collect::<Vec<_>>()[..],
            &["--out", text(&out)],
        ]
        .concat(),
    );
    let made = report(&out);
    assert_eq!(curve(&made), expected(with_scale));
    let models = made["models"].as_array().unwrap().iter();
    let names: Vec<&Value> = models.map(|model| &model["name"]).collect();
    assert_eq!(names, with_scale);
    let plot = fs::read_to_string(out.join("plots/plane_semantic.svg")).unwrap();
    assert!(plot.contains("ddpo: adapter scale 0 – 0.25 – 0.5</text>"));
    let line = plot
        .split("<polyline class=\"curve\" points=\"")
        .nth(1)
        .unwrap();
    let points = line.split('"').next().unwrap().split(' ');
    let x: Vec<f64> = points
        .map(|point| point.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert!(x.len() == 3 && x[0] < x[1] && x[1] < x[2], "{x:?}");
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("| ddpo | 0.25 |"), "{markdown}");

    // One name and one file for all scales.
    let all = [0.25, 0.0, 0.5].map(|scale| scaled("ddpo", scale)).concat();
    let all = write(folder.path(), "all.jsonl", &all);
    done(&["eval", text(&all), "--out", text(&out)]);
    assert_eq!(curve(&report(&out)), expected(with_scale));

    // Names from the command line.
    let named = files.iter().zip(["full", "base", "half"]);
    let named: Vec<String> = named
        .map(|(path, name)| format!("{name}={}", text(path)))
        .collect();
    let words: Vec<&str> = named.iter().map(String::as_str).collect();
    done(&[&["eval"], &words[..], &["--out", text(&out)]].concat());
    assert_eq!(curve(&report(&out)), expected(["base", "half", "full"]));

    // One scale is no curve, and the model keeps its name.
    let one = write(folder.path(), "one.jsonl", &scaled("ddpo", 0.5));
    done(&["eval", text(&one), "--out", text(&out)]);
    let report = report(&out);
    assert_eq!(curve(&report), json!([]));
    assert_eq!(report["models"][0]["name"], "ddpo");
}
