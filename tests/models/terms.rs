//! Tests of overused terms through the command line: a planted phrase in all files of a report, and in SQL.

use std::fs;
use std::path::Path;

use polyphony_io::random::SplitMix64;
use serde_json::{Value, json};

use super::report::write;
use super::reports::report;
use super::support::{done, text};

/// Texts of 60 words in sentences, of the same random words for everyone, with a phrase in some.
fn texts(name: &str, phrase: Option<&str>) -> Vec<Value> {
    let mut random = SplitMix64::seed_from_u64(name.len() as u64);
    let mut rows = Vec::new();
    for prompt in 0..40 {
        for sample in 0..3 {
            let mut sentences = Vec::new();
            for _ in 0..10 {
                // Few words are frequent, as in a language.
                let word = |random: &mut SplitMix64| {
                    format!("w{}", (400.0 * random.next_f64().powi(3)) as usize)
                };
                let words: Vec<String> = (0..6).map(|_| word(&mut random)).collect();
                sentences.push(words.join(" ") + ".");
            }
            if let Some(phrase) = phrase.filter(|_| random.next_f64() < 0.4) {
                sentences.insert(random.below(10), phrase.to_owned());
            }
            rows.push(json!({
                "model": name, "prompt_id": prompt, "prompt": format!("Prompt {prompt}"), "sample": sample,
                "response": sentences.join(" "),
            }));
        }
    }
    rows
}

#[test]
fn a_planted_phrase_is_named_first_in_all_files() {
    let folder = tempfile::tempdir().unwrap();
    // The mark-up belongs to the context of the phrase.
    let phrase = "<b>The |night|</b> was a  Testament\nto *her* w1.";
    let model = write(folder.path(), "loud.jsonl", &texts("loud", Some(phrase)));
    let plain = write(folder.path(), "plain.jsonl", &texts("plain", None));
    let people = write(folder.path(), "people.jsonl", &texts("people", None));
    let out = folder.path().join("report");
    let arguments = ["eval", text(&model), text(&plain), "--gold", text(&people)];
    let printed = done(&[&arguments[..], &["--out", text(&out)]].concat());
    let report = report(&out);
    let [loud, plain] = [0, 1].map(|at| &report["overused_terms"][at]);
    assert_eq!(
        (&loud["model"], &loud["prompts"]),
        (&json!("loud"), &json!(40))
    );
    assert_eq!(
        (&plain["overused"], &plain["terms"]),
        (&json!(0), &json!([]))
    );
    // Every word and phrase of the planted one is overused, but only the phrases of three words are listed.
    let terms = loud["terms"].as_array().unwrap();
    let names: Vec<&str> = terms
        .iter()
        .map(|term| term["term"].as_str().unwrap())
        .collect();
    assert!(loud["overused"].as_u64().unwrap() > 10, "{loud}");
    for name in [
        "a testament to",
        "testament to her",
        "to her w1",
        "was a testament",
    ] {
        assert!(names[..4].contains(&name), "{names:?}");
    }
    assert!(
        !names.contains(&"testament") && !names.contains(&"to her"),
        "{names:?}"
    );
    let first = &terms[0];
    assert_eq!(
        (&first["people_count"], &first["rate_ratio"]),
        (&json!(0), &Value::Null)
    );
    assert!(first["ci_low"].as_f64().unwrap() > 2.0 && first["p_bh"].as_f64().unwrap() < 0.001);
    let examples = first["examples"].as_array().unwrap();
    let mut prompts: Vec<&Value> = examples
        .iter()
        .map(|example| &example["prompt_id"])
        .collect();
    prompts.dedup();
    assert_eq!(prompts.len(), 3);
    for example in examples {
        let part = |name: &str| example[name].as_str().unwrap();
        let whole = format!("{}{}{}", part("before"), part("text"), part("after"));
        assert!(
            whole.contains("<b>The |night|</b> was a Testament to *her* w1."),
            "{whole}"
        );
    }

    // Terms in the page, in Markdown and on the terminal; mark-up of texts is text.
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<section id=\"overused\"") && page.contains("<mark>"));
    assert!(
        page.contains("&lt;b&gt;The |night|&lt;&#x2f;b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    let row = format!("| {} | only the model (at least ", names[0]);
    let row = markdown
        .lines()
        .find(|line| line.starts_with(&row))
        .unwrap();
    assert!(
        row.contains("\\<b\\>The \\|night\\|\\</b\\>") && row.matches("<br>").count() == 2,
        "{row}"
    );
    let line = printed
        .lines()
        .find(|line| line.starts_with("loud ") && line.contains('"'))
        .unwrap();
    assert!(
        line.starts_with(&format!("loud   \"{}\"", names[0])),
        "{printed}"
    );
    assert!(printed.contains("\nplain  none of "), "{printed}");
    let verified = done(&["eval", "--verify", text(&out.join("report.json"))]);
    assert!(verified.contains("values are equal"), "{verified}");

    sql_gives_the_same_numbers(&model, &people, loud);

    // Without people there is nothing to compare with.
    done(&["eval", arguments[1], "--out", text(&out)]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!page.contains("id=\"overused\""));
    assert_eq!(super::reports::report(&out)["overused_terms"], json!([]));
}

/// The SQL aggregate gives the numbers of a report's entry.
fn sql_gives_the_same_numbers(model: &Path, people: &Path, entry: &Value) {
    let query = format!(
        "WITH texts AS (SELECT response, true AS is_model, prompt_id FROM '{}' UNION ALL \
         SELECT response, false, prompt_id FROM '{}'), \
         terms AS (SELECT unnest(log_odds(response, is_model, prompt_id)) AS t FROM texts) \
         SELECT t['term'] AS term, t['ci_low'] AS ci_low, t['z'] AS z, t['p_bh'] AS p_bh FROM terms \
         WHERE t['p_bh'] <= 0.05",
        text(model),
        text(people)
    );
    let rows = done(&["sql", "--format", "ndjson", "-c", &query]);
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(json!(rows.len()), entry["overused"]);
    for term in entry["terms"].as_array().unwrap() {
        let row = rows.iter().find(|row| row["term"] == term["term"]).unwrap();
        for name in ["ci_low", "z", "p_bh"] {
            let (ours, theirs) = (row[name].as_f64().unwrap(), term[name].as_f64().unwrap());
            assert!(
                (ours - theirs).abs() <= 1e-9 * theirs.abs(),
                "{name}: {row} {term}"
            );
        }
    }
}
