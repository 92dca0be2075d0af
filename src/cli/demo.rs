//! `polyphony demo`: the complete pipeline on a small built-in sample, offline.

use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use polyphony_io::atomic::write_atomic;
use polyphony_trainer::tiny_llama::TinyLlama;

use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Output folder: a store, pairs and their card, a small model, its adapters, a report
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
}

/// The sample: a small dump in Reddit's format, of prompts and stories written for this demo.
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

/// The model to fine-tune: 2 layers, random weights.
const TINY: TinyLlama = TinyLlama {
    hidden_size: 64,
    num_layers: 2,
    num_heads: 4,
    seed: 42,
};

/// Options of every training run: short texts and few steps, so that the demo takes seconds.
const TRAIN_OPTIONS: [&str; 14] = [
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

/// A query of the stories with the largest weights, which deviate most from the other stories of their prompt.
const TOP_WEIGHTS: &str = "SELECT prompts.title, responses.score, round(weight, 2) AS weight, \
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
        "A small dump in the shape of r/WritingPrompts is read into a store; rows that are no \
         stories are dropped, with a reason.",
        &["ingest", &sample, "--store", &store],
    )
    .await?;
    step(
        "Preference pairs, weighted by the deviation of the chosen story from the others to its prompt.",
        &["pairs", "--store", &store],
    )
    .await?;
    step(
        "The largest weights, in SQL.",
        &["sql", "--store", &store, "-c", TOP_WEIGHTS],
    )
    .await?;
    train(&arguments.out).await
}

/// Fine-tunes a small model on the stories (SFT), then on the pairs (DPO, DDPO).
async fn train(out: &Path) -> anyhow::Result<()> {
    let path = |name: &str| out.join(name).display().to_string();
    let (tiny, pairs, sft) = (path("tiny"), path("store/pairs.parquet"), path("sft"));
    terminal::print_message(&format!(
        "\n# A small byte-level Llama with random weights is written to {tiny}. It trains in seconds; \
         its texts are not worth reading."
    ));
    TINY.write(&out.join("tiny"))?;
    for (method, rate, steps, why) in [
        (
            "sft",
            "5e-3",
            "24",
            "SFT: supervised fine-tuning on the chosen stories.",
        ),
        (
            "dpo",
            "1e-3",
            "12",
            "DPO: from the SFT adapter, on the pairs.",
        ),
        (
            "ddpo",
            "1e-3",
            "12",
            "DDPO: the same, with each pair's loss multiplied by its weight.",
        ),
    ] {
        let adapter = path(method);
        let mut words = vec!["train", method, "--model", &tiny, "--data", &pairs];
        words.extend(["--learning-rate", rate, "--max-steps", steps]);
        words.extend(TRAIN_OPTIONS);
        if method != "sft" {
            words.extend(["--adapter", &sft]);
        }
        words.extend(["--out", &adapter]);
        step(why, &words).await?;
    }
    terminal::print_message(&format!(
        "\nTraining curves: {0}/loss.svg, their values: {0}/metrics.jsonl.",
        path("ddpo")
    ));
    judge(out).await
}

/// Samples from the three models, trains a reward model, and evaluates.
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
        step("Four samples to each of twelve prompts.", &words).await?;
    }
    let (store, votes, reward) = (path("store"), path("votes.parquet"), path("reward"));
    let query = format!(
        "COPY (SELECT prompt, text AS response, responses.score FROM responses \
         JOIN prompts ON prompts.prompt_id = responses.prompt_id ORDER BY response_id) TO '{}'",
        votes.replace('\'', "''")
    );
    step(
        "The votes of all stories, as training data of a reward model.",
        &["sql", "--store", &store, "-c", &query],
    )
    .await?;
    let mut words = vec!["train", "reward", "--model", &tiny, "--data", &votes];
    words.extend(["--learning-rate", "1e-3", "--max-steps", "12"]);
    words.extend(TRAIN_OPTIONS);
    words.extend(["--out", &reward]);
    step("A reward model is trained on them.", &words).await?;
    let report = path("report");
    let mut words = vec!["eval"];
    words.extend(texts.iter().map(String::as_str));
    words.extend(["--gold", &store, "--reward", &reward, "--out", &report]);
    step(
        "Reward and diversity of the three models, compared with the human stories.",
        &words,
    )
    .await
}

/// Prints a command line, then runs it.
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
    terminal::print_message(&format!("\n# {why}\n$ polyphony {}", quoted.join(" ")));
    let words = std::iter::once("polyphony").chain(command.iter().copied());
    let arguments = super::Arguments::try_parse_from(words)?;
    Box::pin(super::dispatch(arguments)).await
}
