//! `polyphony demo`: what does the whole path look like, on a small sample, offline?

use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use polyphony_io::atomic::write_atomic;
use polyphony_trainer::tiny_llama::TinyLlama;

use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the demo writes: a store, pairs and their card, a small model, its adapters, a report
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
const TINY: TinyLlama = TinyLlama {
    hidden_size: 64,
    num_layers: 2,
    num_heads: 4,
    seed: 42,
};

/// Short texts and few steps: this is to be seen, not to be used.
const BRIEF: [&str; 14] = [
    "--max-length",
    "256",
    "--overlength",
    "truncate",
    "--target-modules",
    "all-linear",
    "--batch-size",
    "8",
    "--lora-r",
    "16",
    "--warmup-steps",
    "0",
    "--lr-scheduler-type",
    "constant",
];

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
        write_atomic(&sample.join(name), text.as_bytes())?;
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
    let (tiny, pairs, sft) = (path("tiny"), path("store/pairs.parquet"), path("sft"));
    terminal::talk(&format!(
        "\n# A small Llama with random weights that reads bytes goes to {tiny}: it learns in seconds, \
         and writes no story that is worth reading."
    ));
    TINY.write(&out.join("tiny"))?;
    for (method, rate, steps, why) in [
        ("sft", "5e-3", "24", "It learns what stories look like."),
        (
            "dpo",
            "1e-3",
            "12",
            "It learns to prefer the stories that readers preferred.",
        ),
        (
            "ddpo",
            "1e-3",
            "12",
            "And, again from the start, the more so the further they stand from the others.",
        ),
    ] {
        let adapter = path(method);
        let mut words = vec!["train", method, "--model", &tiny, "--data", &pairs];
        words.extend(["--learning-rate", rate, "--max-steps", steps]);
        words.extend(BRIEF);
        if method != "sft" {
            words.extend(["--adapter", &sft]);
        }
        words.extend(["--out", &adapter]);
        step(why, &words).await?;
    }
    terminal::talk(&format!(
        "\nThe curves are {}/loss.svg and metrics.jsonl beside it.",
        path("ddpo")
    ));
    judge(out).await
}

/// Each of the three writes, and a report says what came of it.
async fn judge(out: &Path) -> anyhow::Result<()> {
    let path = |name: &str| out.join(name).display().to_string();
    let (tiny, pairs) = (path("tiny"), path("store/pairs.parquet"));
    let names = ["sft", "dpo", "ddpo"];
    let texts = names.map(|name| path(&format!("{name}.jsonl")));
    for (name, texts) in names.iter().zip(&texts) {
        let adapter = path(name);
        let mut words = vec!["generate", "--model", &tiny, "--adapter", &adapter];
        words.extend(["--prompts", &pairs, "--out", texts]);
        words.extend(["--limit", "12", "--max-tokens", "120"]);
        step("Four texts to each of twelve prompts.", &words).await?;
    }
    let (store, votes, reward) = (path("store"), path("votes.parquet"), path("reward"));
    let query = format!(
        "COPY (SELECT prompt, text AS response, responses.score FROM responses \
         JOIN prompts ON prompts.prompt_id = responses.prompt_id ORDER BY response_id) TO '{}'",
        votes.replace('\'', "''")
    );
    step(
        "The votes of all stories.",
        &["sql", "--store", &store, "-c", &query],
    )
    .await?;
    let mut words = vec!["train", "reward", "--model", &tiny, "--data", &votes];
    words.extend(["--learning-rate", "1e-3", "--max-steps", "12"]);
    words.extend(BRIEF);
    words.extend(["--out", &reward]);
    step("A reward model learns them.", &words).await?;
    let report = path("report");
    let mut words = vec!["eval"];
    words.extend(texts.iter().map(String::as_str));
    words.extend(["--gold", &store, "--reward", &reward, "--out", &report]);
    step(
        "Who is good, and who differs? The three, and the people who wrote the stories.",
        &words,
    )
    .await
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
