//! `polyphony weigh`, `--weight` and `--where`: help, and the one-line errors.

use super::{Transcript, printed, store, write};

#[test]
fn help_of_weigh() {
    insta::assert_snapshot!(printed(&[&["weigh", "--help"]]));
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
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--deviation",
        "none",
    ]);
    transcript.run(&["weigh", "good.jsonl", "--out", "o.jsonl", "--raw-weights"]);
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--weight",
        "score +",
    ]);
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--weight",
        "score, words",
    ]);
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--weight",
        "minmax(score)",
    ]);
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--columns",
        "answer=chosen",
    ]);
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--columns",
        "chosen=winner",
    ]);
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
    transcript.run(&[
        "weigh",
        "good.jsonl",
        "--out",
        "o.jsonl",
        "--also",
        "also.jsonl",
    ]);
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
