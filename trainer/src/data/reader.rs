//! Dataset reader: rows of a file, tokenized, as examples.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use polyphony_io::hash::{Sha256, fnv1a};
use polyphony_io::{Error, Result};
use polyphony_model::chat::{Chat, PromptCompletion};
use polyphony_model::reward;
use polyphony_model::tokenizer::SpecialTokens;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::example::{Example, Examples, hash_tokens};
use super::rows::{Row, Text, content, extract_prompt, is_conversation, rows, split_response};
use crate::method::Method;

/// What to do with texts above the length limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlength {
    /// Drop the whole pair
    Drop,
    /// Truncate the end of the text
    ///
    /// TRL: `keep_start`.
    Truncate,
}

/// The number of rows that are tokenized in parallel.
const ROWS_PER_BATCH: usize = 1024;

/// The split of a row, by the names that datasets use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Validation,
    Test,
}

/// A parsed row: its example, its split, and whether it may be a duplicate.
struct ParsedRow {
    example: Example,
    /// The prompt's text.
    prompt: String,
    split: Split,
    /// Whether the text is the chosen one of a pair whose rejected one is not used (SFT): several pairs may
    /// share it.
    from_pair: bool,
}

/// A dataset file with the options of its conversion to examples.
#[derive(Debug, Clone, Copy)]
pub struct DatasetReader<'a> {
    /// The path of the dataset.
    pub file: &'a Path,
    /// The method that the examples are for.
    pub method: Method,
    /// Whether rows are pairs of responses.
    pub has_pairs: bool,
    /// The length limit of a text, in tokens.
    pub max_length: usize,
    /// What to do with longer texts.
    pub overlength: Overlength,
}

impl DatasetReader<'_> {
    /// Reads all rows in order and tokenizes them on all cores. Returns none once `stop` is set.
    ///
    /// # Errors
    /// When the file cannot be read, a row is invalid, or no row is left to train on.
    #[instrument(name = "tokenize dataset", level = "debug", skip_all, fields(file = %self.file.display()))]
    pub fn read(&self, chat: &Chat, stop: &AtomicBool) -> Result<Option<Examples>> {
        let mut examples = Examples::default();
        // Hashes of the chosen responses so far, to find duplicates.
        let mut seen = HashSet::new();
        let mut pending: Vec<(usize, Row)> = Vec::new();
        let mut tokenize = |pending: &mut Vec<(usize, Row)>| -> Result<()> {
            let rows = std::mem::take(pending).into_par_iter();
            let parsed: Vec<Result<ParsedRow>> = rows
                .map(|(number, row)| self.parse_row(chat, number, row))
                .collect();
            for row in parsed {
                self.push(row?, &mut seen, &mut examples);
            }
            Ok(())
        };
        let read = rows(self.file, |number, row| {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled("reading the data".to_owned()));
            }
            // Rows are tokenized in parallel in batches, but added in order: the result is deterministic.
            pending.push((usize::try_from(number).unwrap_or_default(), row));
            if pending.len() == ROWS_PER_BATCH {
                tokenize(&mut pending)?;
            }
            Ok(())
        });
        match read {
            Err(Error::Cancelled(_)) => return Ok(None),
            read => read?,
        }
        tokenize(&mut pending)?;
        examples.choose_eval();
        if examples.train.is_empty() {
            let (message, hint) = match examples.dropped {
                0 => (
                    "has no rows to train on".to_owned(),
                    "use another file, or check the column split",
                ),
                dropped => (
                    format!(
                        "has no rows to train on: {dropped} rows with a text of more than {} tokens were \
                         dropped",
                        self.max_length
                    ),
                    "raise --max-length, or use --overlength truncate",
                ),
            };
            return Err(Error::input(self.file, message, hint));
        }
        Ok(Some(examples))
    }

    /// Converts a row, with its `number` in the file, to an example.
    fn parse_row(&self, chat: &Chat, number: usize, row: Row) -> Result<ParsedRow> {
        let split = match row.split.as_deref() {
            None | Some("train") => Split::Train,
            Some("validation" | "valid" | "eval") => Split::Validation,
            Some("test") => Split::Test,
            Some(other) => {
                let message = format!("row {number}: unknown split `{other}`");
                let hint = "use train, validation or test, or remove such rows";
                return Err(Error::input(self.file, message, hint));
            }
        };
        let from_pair =
            self.method == Method::Sft && row.chosen.is_some() && row.response.is_none();
        let (example, prompt) = self.example(chat, row, number)?;
        Ok(ParsedRow {
            example,
            prompt,
            split,
            from_pair,
        })
    }

    /// Adds an example to its split, or counts it as a duplicate or dropped. `seen` has hashes of the chosen
    /// responses so far.
    fn push(&self, row: ParsedRow, seen: &mut HashSet<[u8; 32]>, examples: &mut Examples) {
        let mut example = row.example;
        if row.from_pair {
            let mut hasher = Sha256::new();
            hash_tokens(&mut hasher, &example.chosen);
            if !seen.insert(hasher.finalize()) {
                examples.duplicates += 1;
                return;
            }
        }
        let mut texts = vec![&mut example.chosen];
        texts.extend(example.rejected.as_mut());
        if texts.iter().any(|text| text.ids.len() > self.max_length) {
            // A prompt as long as the limit would leave no target token.
            let no_targets = texts.iter().any(|text| text.prompt_len >= self.max_length);
            if no_targets || self.overlength == Overlength::Drop {
                examples.dropped += 1;
                return;
            }
            for text in texts {
                text.ids.truncate(self.max_length);
            }
            examples.truncated += 1;
        }
        if row.split != Split::Train {
            examples
                .held_out_prompts
                .insert(example.prompt_hash, row.prompt);
        }
        match row.split {
            Split::Train => examples.train.push(example),
            Split::Validation => examples.eval.push(example),
            Split::Test => examples.test.push(example),
        }
    }

    /// Validates and tokenizes a row; returns its example and the prompt's text.
    fn example(&self, chat: &Chat, row: Row, number: usize) -> Result<(Example, String)> {
        let invalid = |message: &str, hint: &str| {
            Error::input(self.file, format!("row {number}: {message}"), hint)
        };
        let missing = |column: &str, hint: &str| invalid(&format!("no `{column}`"), hint);
        if self.method.is_weighted() && row.weight.is_none() {
            let hint =
                "use pairs of `polyphony pairs`, or train dpo or orpo, which need no weights";
            return Err(missing("weight", hint));
        }
        let weight = row.weight.unwrap_or(1.0);
        if !weight.is_finite() || weight < 0.0 {
            let message = format!("weight must be >= 0 (got {weight})");
            return Err(invalid(&message, "compute the weights again"));
        }
        let tokens = |prompt: &Text, response: &Text| -> Result<PromptCompletion> {
            let tokens = match self.method {
                Method::Reward => reward_tokens(chat, prompt, response),
                _ => completion_tokens(chat, prompt, response),
            };
            let tokens = tokens.map_err(|error| match error {
                Error::Input {
                    subject,
                    message,
                    hint,
                } => invalid(&format!("{subject}: {message}"), &hint),
                error => error,
            })?;
            // A target needs a token before it: a text of one token has none, even with an empty prompt.
            if tokens.ids.len() <= tokens.prompt_len.max(1) {
                return Err(invalid("a response has no tokens", "remove the row"));
            }
            Ok(tokens)
        };
        if self.has_pairs {
            let hint = "pairs need prompt, chosen and rejected, as `polyphony pairs` writes them";
            let (Some(chosen), Some(rejected)) = (row.chosen, row.rejected) else {
                return Err(missing("chosen` or `rejected", hint));
            };
            if chosen.is_plain() != rejected.is_plain() {
                let message = "chosen and rejected are a string and a message list";
                return Err(invalid(message, hint));
            }
            let (prompt, chosen, rejected) = match row.prompt {
                Some(prompt) if !(prompt.is_plain() && chosen.is_conversation()) => {
                    (prompt, chosen, rejected)
                }
                _ => extract_prompt(chosen, rejected).ok_or_else(|| missing("prompt", hint))?,
            };
            let text = content(&prompt);
            let example = Example {
                chosen: tokens(&prompt, &chosen)?,
                rejected: Some(tokens(&prompt, &rejected)?),
                weight,
                score: 0.0,
                prompt_hash: fnv1a(text.as_bytes()),
                row: number,
            };
            return Ok((example, text));
        }
        let hint = "rows need prompt, and chosen, response or completion";
        let response = row.response.or(row.chosen);
        let (prompt, response) = match (row.messages, row.prompt, response) {
            (Some(messages), _, _) => split_response(messages),
            (None, Some(prompt), Some(Text::Chat(messages)))
                if prompt.is_plain() && is_conversation(&messages) =>
            {
                split_response(messages)
            }
            (None, Some(prompt), Some(response)) => (prompt, response),
            (None, None, _) => return Err(missing("prompt", hint)),
            (None, Some(_), None) => return Err(missing("response", hint)),
        };
        let score = if self.method == Method::Reward {
            let hint =
                "train a reward model on scores, or on pairs with --reward-loss bradley_terry";
            let score = row.score.filter(|score| score.is_finite());
            score.ok_or_else(|| missing("score", hint))?
        } else {
            0.0
        };
        let text = content(&prompt);
        let example = Example {
            chosen: tokens(&prompt, &response)?,
            rejected: None,
            weight,
            score,
            prompt_hash: fnv1a(text.as_bytes()),
            row: number,
        };
        Ok((example, text))
    }
}

/// The input of a reward model: prompt and response as one text.
fn reward_tokens(chat: &Chat, prompt: &Text, response: &Text) -> Result<PromptCompletion> {
    let ids = chat.encode(
        &reward::format_input(&content(prompt), &content(response)),
        SpecialTokens::Add,
    )?;
    let prompt_len = 1.min(ids.len());
    Ok(PromptCompletion { ids, prompt_len })
}

/// A prompt and its completion: as plain text where both are strings, otherwise as a conversation.
fn completion_tokens(chat: &Chat, prompt: &Text, response: &Text) -> Result<PromptCompletion> {
    match (prompt, response) {
        (Text::Plain(prompt), Text::Plain(response)) => chat.tokenize_plain(prompt, response),
        _ => chat.tokenize_chat(&prompt.messages("user"), &response.messages("assistant")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use polyphony_model::files::ModelFiles;
    use serde_json::{Value, json};

    use super::*;
    use crate::tiny_llama::TinyLlama;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            TinyLlama::SMALLEST.write(folder.path()).unwrap();
            Self { folder }
        }

        fn chat(&self) -> Chat {
            let name = self.folder.path().to_str().unwrap();
            Chat::load(&ModelFiles::find_model(name).unwrap()).unwrap()
        }

        fn read(&self, file: &Path, method: Method, has_pairs: bool) -> Result<Examples> {
            let reader = DatasetReader {
                file,
                method,
                has_pairs,
                max_length: 1000,
                overlength: Overlength::Drop,
            };
            let stop = AtomicBool::new(false);
            Ok(reader.read(&self.chat(), &stop)?.unwrap())
        }

        fn jsonl(&self, rows: &[Value]) -> PathBuf {
            let file = self.folder.path().join("rows.jsonl");
            let lines = rows.iter().map(|row| format!("{row}\n"));
            std::fs::write(&file, lines.collect::<String>()).unwrap();
            file
        }

        fn read_one(&self, method: Method, row: Value) -> Result<Example> {
            let has_pairs = method.has_pairs();
            let read = self.read(&self.jsonl(&[row]), method, has_pairs)?;
            Ok(read.train.into_iter().next().unwrap())
        }
    }

    fn message(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn strings_next_to_message_lists_are_messages() {
        let fixture = Fixture::new();
        let (user, good, bad) = (
            message("user", "tell"),
            message("assistant", "once"),
            message("assistant", "no"),
        );
        let expected = fixture.read_one(
            Method::Dpo,
            json!({"prompt": [user], "chosen": [good], "rejected": [bad]}),
        );
        let expected = expected.unwrap();
        for row in [
            json!({"prompt": "tell", "chosen": [user, good], "rejected": [user, bad]}),
            json!({"prompt": "tell", "chosen": [good], "rejected": [bad]}),
            json!({"prompt": [user], "chosen": "once", "rejected": "no"}),
            json!({"chosen": [user, good], "rejected": [user, bad]}),
        ] {
            assert_eq!(
                fixture.read_one(Method::Dpo, row.clone()).unwrap(),
                expected,
                "{row}"
            );
        }
        let expected = Example {
            rejected: None,
            ..expected
        };
        for row in [
            json!({"prompt": [user], "response": "once"}),
            json!({"prompt": "tell", "chosen": [user, good]}),
            json!({"prompt": "tell", "completion": [good]}),
            json!({"messages": [user, good]}),
        ] {
            assert_eq!(
                fixture.read_one(Method::Sft, row.clone()).unwrap(),
                expected,
                "{row}"
            );
        }
        let mixed = json!({"prompt": "tell", "chosen": [good], "rejected": "no"});
        let error = fixture
            .read_one(Method::Dpo, mixed)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("row 1: chosen and rejected are a string and a message list"),
            "{error}"
        );
    }

    #[test]
    fn sft_skips_duplicate_chosen_responses_of_pairs() {
        let fixture = Fixture::new();
        let pair = |chosen: &str, rejected: &str, split: &str| json!({"prompt": "tell", "chosen": chosen, "rejected": rejected, "split": split});
        let file = fixture.jsonl(&[
            pair("once", "no", "train"),
            pair("once", "never", "train"),
            pair("twice", "no", "train"),
        ]);
        let read = fixture.read(&file, Method::Sft, false).unwrap();
        assert_eq!((read.train.len(), read.duplicates), (2, 1));
        let read = fixture.read(&file, Method::Dpo, true).unwrap();
        assert_eq!((read.train.len(), read.duplicates), (3, 0));
        // Repeated rows of single responses are intended: users upsample that way.
        let row = json!({"prompt": "tell", "response": "once"});
        let file = fixture.jsonl(&[row.clone(), row]);
        assert_eq!(
            fixture.read(&file, Method::Sft, false).unwrap().train.len(),
            2
        );
    }

    #[test]
    fn eval_subsample_is_at_equal_distances() {
        let fixture = Fixture::new();
        let row = |number: usize| {
            let split = if number == 0 { "train" } else { "test" };
            json!({"prompt": "tell", "response": format!("{number}"), "split": split})
        };
        let all: Vec<Value> = (0..=100).map(row).collect();
        let file = fixture.jsonl(&all);
        for (max_samples, remaining, last) in [(0, 100, 101), (4, 4, 101), (200, 100, 101)] {
            let mut read = fixture.read(&file, Method::Sft, false).unwrap();
            read.subsample_eval(max_samples);
            assert_eq!(read.eval.len(), remaining);
            assert_eq!(read.eval[remaining - 1].row, last);
        }
    }

    #[test]
    fn reward_model_needs_scores() {
        let fixture = Fixture::new();
        let messages = json!([message("user", "tell"), message("assistant", "once")]);
        let from_messages =
            fixture.read_one(Method::Reward, json!({"messages": messages, "score": 7}));
        let expected = fixture.read_one(
            Method::Reward,
            json!({"prompt": "tell", "response": "once", "score": 7}),
        );
        let from_messages = from_messages.unwrap();
        assert_eq!(from_messages, expected.unwrap());
        assert_eq!(from_messages.score, 7.0);
        let none = fixture.read_one(Method::Reward, json!({"messages": messages}));
        let error = none.unwrap_err().to_string();
        assert!(error.contains("row 1: no `score`"), "{error}");
    }

    #[test]
    fn splits_are_assigned_by_name() {
        let fixture = Fixture::new();
        let row = |split: Value| json!({"prompt": "a", "response": "b", "split": split});
        let all = ["train", "validation", "valid", "eval", "test"];
        let mut all: Vec<Value> = all.map(|split| row(json!(split))).to_vec();
        all.push(row(Value::Null));
        let read = fixture
            .read(&fixture.jsonl(&all), Method::Sft, false)
            .unwrap();
        let numbers = |examples: &[Example]| examples.iter().map(|e| e.row).collect::<Vec<_>>();
        assert_eq!(numbers(&read.train), [1, 6]);
        assert_eq!(numbers(&read.eval), [2, 3, 4]);
        assert_eq!((read.held_out, read.unused_test), (3, 1));
        let only_test = [row(json!("train")), row(json!("test"))];
        let file = fixture.jsonl(&only_test);
        let read = fixture.read(&file, Method::Sft, false).unwrap();
        assert_eq!(numbers(&read.eval), [2]);
        assert_eq!((read.held_out, read.unused_test), (1, 0));
        all.push(row(json!("train_prefs")));
        let refused = fixture.read(&fixture.jsonl(&all), Method::Sft, false);
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("row 7: unknown split `train_prefs`"),
            "{error}"
        );
    }

    #[test]
    fn response_without_tokens_is_an_error() {
        let fixture = Fixture::new();
        let row = || json!({"prompt": "tell", "response": ""});
        assert!(fixture.read_one(Method::Sft, row()).is_ok());
        std::fs::write(fixture.folder.path().join("tokenizer_config.json"), "{}").unwrap();
        let error = fixture
            .read_one(Method::Sft, row())
            .unwrap_err()
            .to_string();
        assert!(error.contains("row 1: a response has no tokens"), "{error}");
    }

    #[test]
    fn parquet_rows_are_numbered_across_batches() {
        let fixture = Fixture::new();
        let file = fixture.folder.path().join("rows.parquet");
        let text = |cell: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((1..=3000).map(cell)))
        };
        let write = |bad: usize| {
            let columns = [
                ("prompt", text(&|row| format!("{row}"))),
                ("response", text(&|row| format!("to {row}"))),
                (
                    "chosen_by",
                    text(&|_| "a column of no meaning here".to_owned()),
                ),
                (
                    "split",
                    text(&|row| if row == bad { "dev" } else { "train" }.to_owned()),
                ),
            ];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let to = File::create(&file).unwrap();
            let mut writer = ArrowWriter::try_new(to, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        };
        write(0);
        let read = fixture.read(&file, Method::Sft, false).unwrap();
        assert_eq!(read.train.len(), 3000);
        assert!(read.train.iter().zip(1..).all(|(e, row)| e.row == row));
        write(2500);
        let refused = fixture.read(&file, Method::Sft, false);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("row 2500: unknown split `dev`"), "{error}");
    }

    #[test]
    fn reading_ends_once_stop_is_set() {
        let fixture = Fixture::new();
        let row = json!({"prompt": "a", "response": "b"});
        let reader = DatasetReader {
            file: &fixture.jsonl(&[row, json!({"prompt": "a"})]),
            method: Method::Sft,
            has_pairs: false,
            max_length: 1000,
            overlength: Overlength::Drop,
        };
        let stop = AtomicBool::new(true);
        assert!(reader.read(&fixture.chat(), &stop).unwrap().is_none());
    }
}
