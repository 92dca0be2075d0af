//! `polyphony demo`: what does the whole path look like, on a small sample, offline?

use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use polyphony_engine::store::write_whole;
use polyphony_trainer::tiny::Tiny;

use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the demo writes: a store, pairs and their card, a small model and its adapters
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
}

/// The sample: prompts and stories of our own writing, as a small Reddit dump.
const SAMPLE: [(&str, &str); 2] = [
    (
        "WritingPrompts_submissions.jsonl",
        include_str!("../../data/WritingPrompts_submissions.jsonl"),
    ),
    (
        "WritingPrompts_comments.jsonl",
        include_str!("../../data/WritingPrompts_comments.jsonl"),
    ),
];

/// The model that learns.
const TINY: Tiny = Tiny {
    width: 64,
    layers: 2,
    heads: 4,
    seed: 42,
};

/// What the demo asks of the store: the story that strays furthest from the others to its prompt.
const QUESTION: &str = "SELECT prompts.title, responses.score, round(weight, 2) AS weight, \
    substr(responses.text, 1, 40) AS story \
    FROM weights \
    JOIN responses ON responses.response_id = weights.response_id \
    JOIN prompts ON prompts.prompt_id = weights.prompt_id \
    ORDER BY weight DESC, responses.response_id LIMIT 5";

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let sample = arguments.out.join("sample");
    let store = arguments.out.join("store");
    for (name, text) in SAMPLE {
        write_whole(&sample.join(name), text.as_bytes())?;
    }
    let (sample, store) = (sample.display().to_string(), store.display().to_string());
    step(
        "A small dump in the shape of r/WritingPrompts goes into a store; what is no story is \
         refused, with its reason.",
        &["ingest", &sample, "--store", &store],
    )
    .await?;
    step(
        "Preference pairs, weighted by how far the winner stands from the others to its prompt.",
        &["pairs", "--store", &store],
    )
    .await?;
    step(
        "Any question in SQL.",
        &["sql", "--store", &store, "-c", QUESTION],
    )
    .await?;
    train(&arguments.out).await
}

/// A small model learns the stories, then to prefer those that stand apart.
async fn train(out: &Path) -> anyhow::Result<()> {
    let path = |name: &str| out.join(name).display().to_string();
    let (tiny, pairs) = (path("tiny"), path("store/pairs.parquet"));
    let (sft, ddpo) = (path("sft"), path("ddpo"));
    terminal::talk(&format!(
        "\n# A small Llama with random weights that reads bytes goes to {tiny}: it learns in seconds, \
         and writes no story that is worth reading."
    ));
    TINY.write(&out.join("tiny"))?;
    // Short texts and few steps: this is to be seen, not to be used.
    let brief = [
        "--max-length",
        "256",
        "--too-long",
        "truncate",
        "--target-modules",
        "all-linear",
        "--batch-pairs",
        "8",
        "--lora-r",
        "16",
        "--warmup",
        "0",
        "--schedule",
        "constant",
    ];
    let words = |method, rate, more: &[&'static str]| -> Vec<String> {
        let words = [
            "train",
            method,
            "--model",
            &tiny,
            "--pairs",
            &pairs,
            "--learning-rate",
            rate,
        ];
        let words = words.iter().chain(more).chain(&brief);
        words.map(|word| (*word).to_owned()).collect()
    };
    let mut first = words("sft", "5e-3", &["--steps", "24"]);
    first.extend(["--out".to_owned(), sft.clone()]);
    step("It learns what stories look like.", &refs(&first)).await?;
    let mut second = words("ddpo", "1e-3", &["--steps", "12"]);
    second.extend([
        "--adapter".to_owned(),
        sft,
        "--out".to_owned(),
        ddpo.clone(),
    ]);
    step(
        "It learns to prefer the stories that readers preferred, the more so the further they stand \
         from the others.",
        &refs(&second),
    )
    .await?;
    terminal::talk(&format!(
        "\nThe curves are {ddpo}/loss.svg and metrics.jsonl beside it."
    ));
    Ok(())
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Shows a command, then runs exactly what it shows.
async fn step(why: &str, command: &[&str]) -> anyhow::Result<()> {
    let quoted: Vec<String> = command
        .iter()
        .map(|word| {
            if word.contains(' ') {
                format!("\"{word}\"")
            } else {
                (*word).to_owned()
            }
        })
        .collect();
    terminal::talk(&format!("\n# {why}\n$ polyphony {}", quoted.join(" ")));
    let words = std::iter::once("polyphony").chain(command.iter().copied());
    let arguments = super::Arguments::try_parse_from(words)?;
    Box::pin(super::dispatch(arguments)).await
}
