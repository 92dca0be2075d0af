//! `polyphony eval` and `polyphony study`: help, and the errors of files and options.

use super::{Transcript, printed, write};

#[test]
fn help_of_eval() {
    insta::assert_snapshot!(printed(&[&["eval", "--help"]]));
}

#[test]
fn evaluations_that_cannot_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let write = |name: &str, text: &str| write(&folder, name, text);
    let row = |model: &str, text: &str, score: &str| {
        format!("{{\"model\":\"{model}\",\"prompt_id\":1,\"response\":\"{text}\",\"{score}\":1}}\n")
    };
    write("a.jsonl", &row("m", "one", "score"));
    write("b.jsonl", &row("m", "two", "score"));
    write("c.jsonl", &row("n", "two", "reddit_reward"));
    write("copy.jsonl", &row("m", "one", "score"));
    write("empty.jsonl", "");
    write("other.jsonl", "{\"x\":1}\n");
    write("noise.jsonl", "what\n");
    write("cut.csv", "model,prompt_id,response\nm,1,\"one");
    write("no.parquet", "PAR1");
    for words in [
        &["absent.jsonl"][..],
        &["empty.jsonl"],
        &["other.jsonl"],
        &["noise.jsonl"],
        &["no.parquet"],
        &["cut.csv"],
        &["a.jsonl", "b.jsonl"],
        &["a.jsonl", "copy.jsonl"],
        &["a.jsonl", "c.jsonl"],
        &["a.jsonl", "--semantic", "builtin:nothing"],
        &["a.jsonl", "--semantic", "column:nothing"],
        &["a.jsonl", "--reward", "column:nothing"],
        &["a.jsonl", "--reward", "absent"],
        &["a.jsonl", "--columns", "story=x"],
        &["a.jsonl", "--columns", "response=x"],
        &["a.jsonl", "--gold", "absent"],
        &["a.jsonl", "--gold", "other.jsonl"],
        &["a.jsonl", "--k", "0"],
        &["a.jsonl", "--device", "tpu"],
        &["a.jsonl", "--bootstrap-samples", "1"],
        &["a.jsonl", "--primary", "semantic,diversity"],
        &[],
    ] {
        transcript.run(&[&["eval"], words, &["--out", "report"]].concat());
    }
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn help_of_study() {
    let both = printed(&[&["study", "sheet", "--help"], &["study", "read", "--help"]]);
    insta::assert_snapshot!(both);
}

#[test]
fn studies_that_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let write = |name: &str, text: &str| write(&folder, name, text);
    let row = |model: &str, prompt: usize, text: &str| {
        format!(
            "{{\"model\":\"{model}\",\"prompt\":\"prompt {prompt}\",\"response\":\"{text}\"}}\n"
        )
    };
    let both = [
        row("m", 1, "a"),
        row("m", 1, "b"),
        row("n", 1, "c"),
        row("n", 1, "d"),
    ];
    write("both.jsonl", &both.concat());
    write(
        "apart.jsonl",
        &[row("m", 1, "a"), row("n", 2, "c")].concat(),
    );
    let sheet = [
        "study",
        "sheet",
        "both.jsonl",
        "--texts",
        "2",
        "--items",
        "1",
    ];
    for words in [
        &["study", "sheet", "absent.jsonl", "--models", "m,n"][..],
        &["study", "sheet", "both.jsonl", "--models", "m"],
        &["study", "sheet", "both.jsonl", "--models", "m,m"],
        &["study", "sheet", "both.jsonl", "--models", "m,x"],
        &[
            "study",
            "sheet",
            "both.jsonl",
            "--models",
            "m,n",
            "--items",
            "2",
            "--texts",
            "2",
        ],
        &[
            "study",
            "sheet",
            "both.jsonl",
            "--models",
            "m,n",
            "--items",
            "1",
            "--texts",
            "3",
        ],
        &[
            "study",
            "sheet",
            "apart.jsonl",
            "--models",
            "m,n",
            "--items",
            "1",
            "--texts",
            "1",
        ],
        &[&sheet[..], &["--models", "m,n"]].concat(),
        &[&sheet[..], &["--models", "m,n"]].concat(),
    ] {
        transcript.run(&[words, &["--out", "sheet"]].concat());
    }
    let key = std::fs::read_to_string(folder.path().join("sheet/key.json")).unwrap();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let item = key["items"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    write("answers.csv", "id,annotator,quality\nnobody,me,A\n");
    write(
        "words.csv",
        &format!("id,annotator,quality\n{item},me,fine\n"),
    );
    write("none.csv", &format!("id,annotator,other\n{item},me,A\n"));
    write("empty.csv", "");
    for answers in [
        "absent.csv",
        "answers.csv",
        "words.csv",
        "none.csv",
        "empty.csv",
    ] {
        transcript.run(&["study", "read", answers, "--key", "sheet/key.json"]);
    }
    transcript.run(&["study", "read", "none.csv", "--key", "both.jsonl"]);
    transcript.run(&["study", "read", "none.csv", "--key", "absent.json"]);
    // An item's id is a hash of its texts.
    insta::assert_snapshot!(transcript.text.replace(&item, "[ITEM]"));
}

/// A report is made again from its inputs: equal, with one number changed, with one byte of an input changed,
/// without an input, with the inputs elsewhere.
#[test]
fn reports_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let at = |name: &str| folder.path().join(name);
    let rows = |model: &str, shift: usize| -> String {
        let row = |number: usize| {
            let (prompt, sample) = (number / 3, number % 3);
            let word = |at: usize| {
                format!(
                    "w{}",
                    (number * number * 31 + at * at * 7 + shift * at) % 23
                )
            };
            let text: Vec<String> = (0..8 + sample).map(word).collect();
            format!(
                "{{\"model\":\"{model}\",\"prompt_id\":{prompt},\"response\":\"{}\",\"score\":{sample}}}\n",
                text.join(" ")
            )
        };
        (0..12).map(row).collect()
    };
    for (name, shift) in [("a", 0), ("b", 5)] {
        write(&folder, &format!("{name}.jsonl"), &rows(name, shift));
    }
    write(&folder, "people.jsonl", &rows("people", 9));
    let verify = ["eval", "--verify", "report/report.json"];
    transcript.run(&[
        "eval",
        "a.jsonl",
        "other=b.jsonl",
        "--gold",
        "people.jsonl",
        "--seed",
        "7",
        "--out",
        "report",
    ]);
    transcript.run(&verify);
    let report = std::fs::read_to_string(at("report/report.json")).unwrap();
    let changed = report.replacen("\"prompt_count\": 4", "\"prompt_count\": 5", 1);
    assert_ne!(report, changed);
    std::fs::write(at("report/report.json"), &changed).unwrap();
    transcript.run(&verify);
    std::fs::write(at("report/report.json"), &report).unwrap();
    let rows = std::fs::read_to_string(at("a.jsonl")).unwrap();
    write(
        &folder,
        "a.jsonl",
        &rows.replacen("\"score\":2", "\"score\":3", 1),
    );
    transcript.run(&[&verify[..], &["--tolerance", "0.3"]].concat());
    write(&folder, "moved.jsonl", &rows);
    std::fs::remove_file(at("a.jsonl")).unwrap();
    transcript.run(&verify);
    std::fs::create_dir(at("elsewhere")).unwrap();
    std::fs::rename(at("moved.jsonl"), at("elsewhere/a.jsonl")).unwrap();
    transcript.run(&[&verify[..], &["elsewhere/a.jsonl", "other=b.jsonl"]].concat());
    transcript.run(&[&verify[..], &["--seed", "1"]].concat());
    transcript.run(&["eval", "--verify", "b.jsonl"]);
    transcript.run(&["eval", "a.jsonl", "--out", "x", "--tolerance", "1"]);
    insta::assert_snapshot!(transcript.text);
}
