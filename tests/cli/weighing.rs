//! `polyphony weigh`, `--weight` and `--where`: help, and the one-line errors.

use super::{Transcript, printed, store, write};

#[test]
fn help_of_weigh() {
    insta::assert_snapshot!(printed(&[&["weigh", "--help"]]));
}

/// Runs `weigh good.jsonl --out o.jsonl` with more arguments.
fn weigh(transcript: &mut Transcript, more: &[&str]) {
    let words = ["weigh", "good.jsonl", "--out", "o.jsonl"];
    transcript.run(&[words.as_slice(), more].concat());
}

#[test]
fn preference_files_that_cannot_be_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::of(&folder);
    let row = "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}\n";
    write(&folder, "good.jsonl", row);
    transcript.run(&["weigh", "good.jsonl"]);
    transcript.run(&["weigh", "gone.jsonl", "--out", "o.jsonl"]);
    transcript.run(&["weigh", "good.jsonl", "--out", "o.csv"]);
    weigh(&mut transcript, &["--deviation", "none"]);
    weigh(&mut transcript, &["--raw-weights"]);
    weigh(&mut transcript, &["--weight", "score +"]);
    weigh(&mut transcript, &["--weight", "score, words"]);
    weigh(&mut transcript, &["--weight", "minmax(score)"]);
    weigh(&mut transcript, &["--columns", "answer=chosen"]);
    weigh(&mut transcript, &["--columns", "chosen=winner"]);
    for (name, text) in [
        (
            "noprompt.jsonl",
            format!("{row}{{\"chosen\":\"a\",\"rejected\":\"b\"}}\n"),
        ),
        (
            "norejected.jsonl",
            format!("{row}{{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":null}}\n"),
        ),
        (
            "weighted.jsonl",
            format!("{row}{{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"weight\":1}}\n"),
        ),
        (
            "deviations.csv",
            "prompt,chosen,rejected,deviation_style\np,a,b,0.3\n".to_owned(),
        ),
        ("table.csv", "prompt,response,score\np,a,3\n".to_owned()),
        (
            "parts.jsonl",
            format!(
                "{row}{{\"prompt\":\"p\",\"chosen\":[{{\"role\":\"assistant\",\"content\":[1]}}],\"rejected\":\"b\"}}\n"
            ),
        ),
        (
            "number.jsonl",
            format!("{row}{{\"prompt\":7,\"chosen\":\"a\",\"rejected\":\"b\"}}\n"),
        ),
        ("broken.jsonl", format!("{row}{{\"prompt\": \n")),
        ("cut.jsonl", "{\"prompt\": \"p\", \"chosen\": ".to_owned()),
        ("header.csv", "prompt,chosen,rejected\n".to_owned()),
    ] {
        write(&folder, name, &text);
        transcript.run(&["weigh", name, "--out", "o.jsonl"]);
    }
    write(
        &folder,
        "also.jsonl",
        "{\"prompt\":\"p\",\"answer\":\"c\"}\n",
    );
    weigh(&mut transcript, &["--also", "also.jsonl"]);
    assert!(
        !folder.path().join("o.jsonl").exists(),
        "a refused file leaves no output"
    );
    insta::assert_snapshot!(transcript.text);
}

#[test]
fn expressions_that_cannot_be_used() {
    let folder = store();
    let mut transcript = Transcript::of(&folder);
    transcript.run(&["pairs", "--store", "store", "--weight", "m_style +"]);
    transcript.run(&[
        "pairs",
        "--store",
        "store",
        "--where",
        "score > 3; DROP TABLE x",
    ]);
    transcript.run(&["pairs", "--store", "store", "--where", "upvotes > 3"]);
    transcript.run(&["pairs", "--store", "store", "--where", "score > 1000000"]);
    transcript.run(&["pairs", "--store", "store", "--weight", "m_semantic - 2"]);
    transcript.run(&["sql", "--print-pipeline", "own", "-c", "SELECT 1"]);
    std::fs::create_dir(folder.path().join("own")).unwrap();
    write(
        &folder,
        "own/50_weights.sql",
        "-- reads: deviations\n-- writes: weights\nSELECT 1 AS weight\n",
    );
    write(&folder, "own/51_mine.sql", "SELECT 1\n");
    transcript.run(&["pairs", "--store", "store", "--sql", "own"]);
    std::fs::remove_file(folder.path().join("own/51_mine.sql")).unwrap();
    transcript.run(&["pairs", "--store", "store", "--sql", "own", "--weight", "1"]);
    transcript.run(&["pairs", "--store", "store", "--sql", "own"]);
    insta::assert_snapshot!(transcript.text);
}
