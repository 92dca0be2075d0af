//! `polyphony demo`: what does the whole path look like, on a small sample, offline?

use std::path::PathBuf;

use clap::{Args, Parser};
use polyphony_engine::store::write_whole;

use super::terminal;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the demo writes; a store, pairs and their card
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
