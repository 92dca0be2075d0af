//! Which pairs, texts and votes are learnt? Rows of Parquet or JSON lines, as tokens.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polyphony_engine::embed::words::hash;
use polyphony_engine::model::chat::{Chat, Message, Tokens};
use polyphony_engine::model::reward;
use polyphony_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::objective::Method;

/// A text, or a chat.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Chat(Vec<Message>),
}

/// A row, as TRL's formats name its columns.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    prompt: Option<Text>,
    chosen: Option<Text>,
    rejected: Option<Text>,
    #[serde(alias = "completion")]
    response: Option<Text>,
    messages: Option<Vec<Message>>,
    weight: Option<f64>,
    #[serde(alias = "votes")]
    score: Option<f64>,
    split: Option<String>,
}

/// What is done with texts that are longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// The whole pair is left out.
    Drop,
    /// The end is cut off, as TRL's `keep_start`.
    Truncate,
}

/// What is learnt from one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The chosen text, or the only one.
    pub chosen: Tokens,
    /// The rejected one, of a pair.
    pub rejected: Option<Tokens>,
    /// What the pair's loss is multiplied by.
    pub weight: f64,
    /// What a reward model should give.
    pub score: f64,
    /// A hash of the prompt: which texts answer the same one.
    pub prompt: u64,
}

impl Example {
    /// How many tokens go through the model.
    pub fn tokens(&self) -> usize {
        let rejected = self.rejected.as_ref().map_or(0, |text| text.ids.len());
        self.chosen.ids.len() + rejected
    }
}

/// The rows of a file as examples, and how many were left out or cut.
#[derive(Debug, Default)]
pub struct Examples {
    /// Those to learn from.
    pub train: Vec<Example>,
    /// Those of the split `validation`, `valid`, `eval` or `test`.
    pub evaluation: Vec<Example>,
    /// How many had a text above the limit and were left out.
    pub dropped: usize,
    /// How many had one that was cut.
    pub truncated: usize,
}

/// How rows become examples.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Pairs, or texts by Parquet or JSON lines.
    pub file: &'a Path,
    /// What they are for.
    pub method: Method,
    /// Whether rows are pairs of answers.
    pub in_pairs: bool,
    /// The longest text, in tokens.
    pub max_length: usize,
    /// What is done with longer ones.
    pub too_long: TooLong,
}

impl Reading<'_> {
    /// Reads and tokenises all rows.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a column or holds no row; the message names it.
    pub fn examples(&self, chat: &Chat) -> Result<Examples> {
        let mut examples = Examples::default();
        for (number, row) in rows(self.file)?.into_iter().enumerate() {
            let split = row.split.clone();
            let mut example = self.example(chat, row, number + 1)?;
            let mut texts = vec![&mut example.chosen];
            texts.extend(example.rejected.as_mut());
            if texts.iter().any(|text| text.ids.len() > self.max_length) {
                // A prompt alone that reaches the limit leaves nothing to learn.
                let hopeless = texts.iter().any(|text| text.prompt >= self.max_length);
                if hopeless || self.too_long == TooLong::Drop {
                    examples.dropped += 1;
                    continue;
                }
                for text in texts {
                    text.ids.truncate(self.max_length);
                }
                examples.truncated += 1;
            }
            match split.as_deref() {
                Some("validation" | "valid" | "eval" | "test") => examples.evaluation.push(example),
                _ => examples.train.push(example),
            }
        }
        if examples.train.is_empty() {
            let problem = match examples.dropped {
                0 => "holds nothing to learn from".to_owned(),
                dropped => format!("holds nothing to learn from: {dropped} rows were too long"),
            };
            let remedy = "name another file, or raise --max-length";
            return Err(Error::source(self.file, problem, remedy));
        }
        Ok(examples)
    }

    fn example(&self, chat: &Chat, row: Row, number: usize) -> Result<Example> {
        let lacks = |column: &str, remedy: &str| {
            Error::source(self.file, format!("row {number} has no `{column}`"), remedy)
        };
        let (weight, score) = (row.weight, row.score);
        if self.method.is_weighted() && weight.is_none() {
            let remedy = "make pairs with `polyphony pairs`, or train dpo or orpo, which need none";
            return Err(lacks("weight", remedy));
        }
        if weight.is_some_and(|weight| !weight.is_finite() || weight < 0.0) {
            let problem = format!("row {number} has a weight that is no number from 0 on");
            return Err(Error::source(self.file, problem, "make the pairs anew"));
        }
        let mut example = Example {
            chosen: Tokens::default(),
            rejected: None,
            weight: weight.unwrap_or(1.0),
            score: 0.0,
            prompt: 0,
        };
        if self.in_pairs {
            let remedy = "pairs have prompt, chosen and rejected, as `polyphony pairs` writes them";
            let (Some(chosen), Some(rejected)) = (row.chosen, row.rejected) else {
                return Err(lacks("chosen` or `rejected", remedy));
            };
            let (prompt, chosen, rejected) = match row.prompt {
                Some(prompt) => (prompt, chosen, rejected),
                None => implicit(chosen, rejected).ok_or_else(|| lacks("prompt", remedy))?,
            };
            example.prompt = hash(plain(&prompt).as_bytes());
            let answer = |answer: &Text| match self.method {
                Method::Reward => rated(chat, &prompt, answer),
                _ => tokens(chat, &prompt, answer),
            };
            example.chosen = answer(&chosen)?;
            example.rejected = Some(answer(&rejected)?);
            return Ok(example);
        }
        if let Some(mut messages) = row.messages
            && let Some(last) = messages.pop()
        {
            example.chosen = chat.tokens(&messages, &[last])?;
            return Ok(example);
        }
        let remedy = "rows have prompt, and chosen, response or completion";
        let prompt = row.prompt.ok_or_else(|| lacks("prompt", remedy))?;
        let response = row.response.or(row.chosen);
        let response = response.ok_or_else(|| lacks("response", remedy))?;
        example.prompt = hash(plain(&prompt).as_bytes());
        if self.method == Method::Reward {
            let score = score.filter(|score| score.is_finite());
            let remedy =
                "a reward model learns from votes, or with --reward-loss bradley_terry from pairs";
            example.score = score.ok_or_else(|| lacks("score", remedy))?;
            example.chosen = rated(chat, &prompt, &response)?;
        } else {
            example.chosen = tokens(chat, &prompt, &response)?;
        }
        Ok(example)
    }
}

/// What a reward model reads of an answer.
fn rated(chat: &Chat, prompt: &Text, answer: &Text) -> Result<Tokens> {
    let ids = chat.encode(&reward::text(&plain(prompt), &plain(answer)), true)?;
    let prompt = 1.min(ids.len());
    Ok(Tokens { ids, prompt })
}

/// A text, or what is said in a chat.
fn plain(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Chat(messages) => {
            let said: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
            said.join("\n")
        }
    }
}

fn tokens(chat: &Chat, prompt: &Text, answer: &Text) -> Result<Tokens> {
    match (prompt, answer) {
        (Text::Chat(prompt), Text::Chat(answer)) => chat.tokens(prompt, answer),
        (prompt, answer) => chat.plain_tokens(&plain(prompt), &plain(answer)),
    }
}

/// The prompt that both answers begin with, where they are whole chats or texts (TRL:
/// `extract_prompt`).
fn implicit(chosen: Text, rejected: Text) -> Option<(Text, Text, Text)> {
    match (chosen, rejected) {
        (Text::Chat(chosen), Text::Chat(rejected)) => {
            let same = chosen
                .iter()
                .zip(&rejected)
                .take_while(|(a, b)| a == b)
                .count();
            let (prompt, chosen) = chosen.split_at(same);
            (same > 0 && !chosen.is_empty()).then(|| {
                (
                    Text::Chat(prompt.to_vec()),
                    Text::Chat(chosen.to_vec()),
                    Text::Chat(rejected[same..].to_vec()),
                )
            })
        }
        _ => None,
    }
}

/// All rows of a file.
fn rows(file: &Path) -> Result<Vec<Row>> {
    let end = file.extension().and_then(|end| end.to_str());
    match end {
        Some("parquet") => {
            let refused = |error: &dyn std::fmt::Display| {
                let problem = format!("cannot be read as Parquet ({error})");
                Error::source(file, problem, "make it anew")
            };
            let open = File::open(file).map_err(Error::io("read", file))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(open)
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map_err(|error| refused(&error))?;
            let mut all = Vec::new();
            for batch in reader {
                let mut lines = LineDelimitedWriter::new(Vec::new());
                lines.write(&batch.map_err(|error| refused(&error))?)?;
                lines.finish()?;
                all.extend(parse(Cursor::new(lines.into_inner()), file)?);
            }
            Ok(all)
        }
        Some("jsonl" | "json") => {
            let open = File::open(file).map_err(Error::io("read", file))?;
            parse(BufReader::new(open), file)
        }
        _ => {
            let remedy = "name a .parquet or .jsonl file";
            Err(Error::source(file, "is of no known kind", remedy))
        }
    }
}

fn parse(lines: impl BufRead, file: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(Error::io("read", file))?;
        if line.trim().is_empty() {
            continue;
        }
        rows.push(serde_json::from_str(&line).map_err(|error| {
            let problem = format!("row {} cannot be read ({error})", number + 1);
            Error::source(file, problem, "rows hold prompt, chosen, rejected, weight")
        })?);
    }
    Ok(rows)
}
