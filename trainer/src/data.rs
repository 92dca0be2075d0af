//! Which pairs, texts and votes are learnt? A file's rows, as tokens.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use polyphony_io::hash::Sha256;
use polyphony_io::hash::fnv1a;
use polyphony_io::{Error, Result};
use polyphony_model::chat::{Chat, Tokens};
use polyphony_model::reward;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::objective::Method;
use crate::rows::{Row, Text, implicit, is_whole, parted, plain, rows};

/// What is done with texts that are longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlength {
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
    /// Its number in the file, from 1.
    pub row: usize,
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
    /// How many of these there were before they were thinned out.
    pub held_out: usize,
    /// How many rows of pairs had a chosen answer that stood there before, where those alone are learnt.
    pub repeated: usize,
    /// How many had a text above the limit and were left out.
    pub dropped: usize,
    /// How many had one that was cut.
    pub truncated: usize,
}

impl Examples {
    /// Keeps so many of those to evaluate on, spread evenly over all of them; 0 keeps all.
    pub fn thin_evaluation(&mut self, keep: usize) {
        let of = self.evaluation.len();
        if keep > 0 && keep < of {
            let mut number = 0;
            self.evaluation.retain(|_| {
                number += 1;
                number * keep / of > (number - 1) * keep / of
            });
        }
    }
}

/// Rows that are tokenised at a time.
const AT_ONCE: usize = 1024;

/// An example, and what its row says of it.
struct ParsedRow {
    example: Example,
    held_out: bool,
    /// Whether its answer is the chosen one of a pair, the other of which is not learnt.
    of_pair: bool,
}

/// Puts a text's tokens into a hash.
pub(crate) fn hash_tokens(hasher: &mut Sha256, text: &Tokens) {
    hasher.update((text.ids.len() as u64).to_le_bytes());
    hasher.update((text.prompt as u64).to_le_bytes());
    for id in &text.ids {
        hasher.update(id.to_le_bytes());
    }
}

/// How rows become examples.
#[derive(Debug, Clone, Copy)]
pub struct DatasetReader<'a> {
    /// Pairs, or texts by Parquet or JSON lines.
    pub file: &'a Path,
    /// What they are for.
    pub method: Method,
    /// Whether rows are pairs of answers.
    pub in_pairs: bool,
    /// The longest text, in tokens.
    pub max_length: usize,
    /// What is done with longer ones.
    pub too_long: Overlength,
}

impl DatasetReader<'_> {
    /// Reads and tokenises all rows, in their order, some at a time on all cores; none once `stop` is
    /// set.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a column or holds no row; the message names it.
    pub fn examples(&self, chat: &Chat, stop: &AtomicBool) -> Result<Option<Examples>> {
        let mut examples = Examples::default();
        let mut seen = HashSet::new();
        let mut held: Vec<(usize, Row)> = Vec::new();
        let mut place_all = |held: &mut Vec<(usize, Row)>| -> Result<()> {
            let rows = std::mem::take(held).into_par_iter();
            let taken: Vec<Result<ParsedRow>> = rows
                .map(|(number, row)| self.take(chat, number, row))
                .collect();
            for taken in taken {
                self.place(taken?, &mut seen, &mut examples);
            }
            Ok(())
        };
        let read = rows(self.file, |number, row| {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled("reading the data".to_owned()));
            }
            held.push((usize::try_from(number).unwrap_or_default(), row));
            if held.len() == AT_ONCE {
                place_all(&mut held)?;
            }
            Ok(())
        });
        match read {
            Err(Error::Cancelled(_)) => return Ok(None),
            read => read?,
        }
        place_all(&mut held)?;
        if examples.train.is_empty() {
            let message = match examples.dropped {
                0 => "holds nothing to learn from".to_owned(),
                dropped => format!("holds nothing to learn from: {dropped} rows were too long"),
            };
            let hint = "name another file, or raise --max-length";
            return Err(Error::input(self.file, message, hint));
        }
        Ok(Some(examples))
    }

    /// Makes an example of a row.
    fn take(&self, chat: &Chat, number: usize, row: Row) -> Result<ParsedRow> {
        let held_out = match row.split.as_deref() {
            None | Some("train") => false,
            Some("validation" | "valid" | "eval" | "test") => true,
            Some(other) => {
                let message = format!("row {number} is of the split `{other}`");
                let hint = "name it train, validation or test, or leave such rows out";
                return Err(Error::input(self.file, message, hint));
            }
        };
        // A story that was chosen over several others is one text to learn.
        let of_pair = self.method == Method::Sft && row.chosen.is_some() && row.response.is_none();
        Ok(ParsedRow {
            example: self.example(chat, row, number)?,
            held_out,
            of_pair,
        })
    }

    /// Puts an example among those where it belongs. `seen` are the chosen answers that stood there before.
    fn place(&self, taken: ParsedRow, seen: &mut HashSet<[u8; 32]>, examples: &mut Examples) {
        let mut example = taken.example;
        if taken.of_pair {
            let mut hasher = Sha256::new();
            hash_tokens(&mut hasher, &example.chosen);
            if !seen.insert(hasher.finalize()) {
                examples.repeated += 1;
                return;
            }
        }
        let mut texts = vec![&mut example.chosen];
        texts.extend(example.rejected.as_mut());
        if texts.iter().any(|text| text.ids.len() > self.max_length) {
            // A prompt alone that reaches the limit leaves nothing to learn.
            let hopeless = texts.iter().any(|text| text.prompt >= self.max_length);
            if hopeless || self.too_long == Overlength::Drop {
                examples.dropped += 1;
                return;
            }
            for text in texts {
                text.ids.truncate(self.max_length);
            }
            examples.truncated += 1;
        }
        if taken.held_out {
            examples.held_out += 1;
            examples.evaluation.push(example);
        } else {
            examples.train.push(example);
        }
    }

    fn example(&self, chat: &Chat, row: Row, number: usize) -> Result<Example> {
        let refused = |message: &str, hint: &str| {
            Error::input(self.file, format!("row {number} {message}"), hint)
        };
        let lacks = |column: &str, hint: &str| refused(&format!("has no `{column}`"), hint);
        if self.method.is_weighted() && row.weight.is_none() {
            let hint = "make pairs with `polyphony pairs`, or train dpo or orpo, which need none";
            return Err(lacks("weight", hint));
        }
        let weight = row.weight.unwrap_or(1.0);
        if !weight.is_finite() || weight < 0.0 {
            let message = "has a weight that is no number from 0 on";
            return Err(refused(message, "make the pairs anew"));
        }
        let tokens = |prompt: &Text, answer: &Text| -> Result<Tokens> {
            let tokens = match self.method {
                Method::Reward => rated(chat, prompt, answer),
                _ => answered(chat, prompt, answer),
            };
            let tokens = tokens.map_err(|error| match error {
                Error::Input {
                    subject,
                    message,
                    hint,
                } => {
                    let message = format!("row {number}: {subject}: {message}");
                    Error::input(self.file, message, hint)
                }
                error => error,
            })?;
            if tokens.ids.len() <= tokens.prompt.max(1) {
                return Err(refused("has an answer without a token", "leave it out"));
            }
            Ok(tokens)
        };
        if self.in_pairs {
            let hint = "pairs have prompt, chosen and rejected, as `polyphony pairs` writes them";
            let (Some(chosen), Some(rejected)) = (row.chosen, row.rejected) else {
                return Err(lacks("chosen` or `rejected", hint));
            };
            if chosen.is_plain() != rejected.is_plain() {
                return Err(refused("has a text and a chat as its answers", hint));
            }
            let (prompt, chosen, rejected) = match row.prompt {
                Some(prompt) if !(prompt.is_plain() && chosen.is_whole()) => {
                    (prompt, chosen, rejected)
                }
                _ => implicit(chosen, rejected).ok_or_else(|| lacks("prompt", hint))?,
            };
            return Ok(Example {
                chosen: tokens(&prompt, &chosen)?,
                rejected: Some(tokens(&prompt, &rejected)?),
                weight,
                score: 0.0,
                prompt: fnv1a(plain(&prompt).as_bytes()),
                row: number,
            });
        }
        let hint = "rows have prompt, and chosen, response or completion";
        let answer = row.response.or(row.chosen);
        let (prompt, answer) = match (row.messages, row.prompt, answer) {
            (Some(messages), _, _) => parted(messages),
            (None, Some(prompt), Some(Text::Chat(messages)))
                if prompt.is_plain() && is_whole(&messages) =>
            {
                parted(messages)
            }
            (None, Some(prompt), Some(answer)) => (prompt, answer),
            (None, None, _) => return Err(lacks("prompt", hint)),
            (None, Some(_), None) => return Err(lacks("response", hint)),
        };
        let score = if self.method == Method::Reward {
            let hint =
                "a reward model learns from votes, or with --reward-loss bradley_terry from pairs";
            let score = row.score.filter(|score| score.is_finite());
            score.ok_or_else(|| lacks("score", hint))?
        } else {
            0.0
        };
        Ok(Example {
            chosen: tokens(&prompt, &answer)?,
            rejected: None,
            weight,
            score,
            prompt: fnv1a(plain(&prompt).as_bytes()),
            row: number,
        })
    }
}

/// What a reward model reads of an answer.
fn rated(chat: &Chat, prompt: &Text, answer: &Text) -> Result<Tokens> {
    let ids = chat.encode(&reward::text(&plain(prompt), &plain(answer)), true)?;
    let prompt = 1.min(ids.len());
    Ok(Tokens { ids, prompt })
}

/// A prompt and its answer: as texts where both are, else as a chat.
fn answered(chat: &Chat, prompt: &Text, answer: &Text) -> Result<Tokens> {
    match (prompt, answer) {
        (Text::Plain(prompt), Text::Plain(answer)) => chat.plain_tokens(prompt, answer),
        _ => chat.tokens(&prompt.chat("user"), &answer.chat("assistant")),
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
    use crate::tiny::TinyLlama;

    struct Rows {
        folder: tempfile::TempDir,
    }

    impl Rows {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            TinyLlama::SMALLEST.write(folder.path()).unwrap();
            Self { folder }
        }

        fn chat(&self) -> Chat {
            let name = self.folder.path().to_str().unwrap();
            Chat::load(&ModelFiles::find_model(name).unwrap()).unwrap()
        }

        fn read(&self, file: &Path, method: Method, in_pairs: bool) -> Result<Examples> {
            let reading = DatasetReader {
                file,
                method,
                in_pairs,
                max_length: 1000,
                too_long: Overlength::Drop,
            };
            let stop = AtomicBool::new(false);
            Ok(reading.examples(&self.chat(), &stop)?.unwrap())
        }

        fn lines(&self, rows: &[Value]) -> PathBuf {
            let file = self.folder.path().join("rows.jsonl");
            let lines = rows.iter().map(|row| format!("{row}\n"));
            std::fs::write(&file, lines.collect::<String>()).unwrap();
            file
        }

        fn one(&self, method: Method, row: Value) -> Result<Example> {
            let in_pairs = method.has_pairs();
            let read = self.read(&self.lines(&[row]), method, in_pairs)?;
            Ok(read.train.into_iter().next().unwrap())
        }
    }

    fn says(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn texts_beside_chats_are_turns_of_them() {
        let rows = Rows::new();
        let (user, good, bad) = (
            says("user", "tell"),
            says("assistant", "once"),
            says("assistant", "no"),
        );
        let known = rows.one(
            Method::Dpo,
            json!({"prompt": [user], "chosen": [good], "rejected": [bad]}),
        );
        let known = known.unwrap();
        for row in [
            json!({"prompt": "tell", "chosen": [user, good], "rejected": [user, bad]}),
            json!({"prompt": "tell", "chosen": [good], "rejected": [bad]}),
            json!({"prompt": [user], "chosen": "once", "rejected": "no"}),
            json!({"chosen": [user, good], "rejected": [user, bad]}),
        ] {
            assert_eq!(rows.one(Method::Dpo, row.clone()).unwrap(), known, "{row}");
        }
        let known = Example {
            rejected: None,
            ..known
        };
        for row in [
            json!({"prompt": [user], "response": "once"}),
            json!({"prompt": "tell", "chosen": [user, good]}),
            json!({"prompt": "tell", "completion": [good]}),
            json!({"messages": [user, good]}),
        ] {
            assert_eq!(rows.one(Method::Sft, row.clone()).unwrap(), known, "{row}");
        }
        let mixed = json!({"prompt": "tell", "chosen": [good], "rejected": "no"});
        let said = rows.one(Method::Dpo, mixed).unwrap_err().to_string();
        assert!(
            said.contains("row 1 has a text and a chat as its answers"),
            "{said}"
        );
    }

    #[test]
    fn a_story_that_was_chosen_twice_is_learnt_once() {
        let rows = Rows::new();
        let pair = |chosen: &str, rejected: &str, split: &str| json!({"prompt": "tell", "chosen": chosen, "rejected": rejected, "split": split});
        let file = rows.lines(&[
            pair("once", "no", "train"),
            pair("once", "never", "train"),
            pair("twice", "no", "train"),
        ]);
        let read = rows.read(&file, Method::Sft, false).unwrap();
        assert_eq!((read.train.len(), read.repeated), (2, 1));
        let read = rows.read(&file, Method::Dpo, true).unwrap();
        assert_eq!((read.train.len(), read.repeated), (3, 0));
        // Who repeats an answer of their own wants it.
        let row = json!({"prompt": "tell", "response": "once"});
        let file = rows.lines(&[row.clone(), row]);
        assert_eq!(rows.read(&file, Method::Sft, false).unwrap().train.len(), 2);
    }

    #[test]
    fn a_share_of_the_held_out_rows_is_spread_over_all() {
        let rows = Rows::new();
        let row = |number: usize| {
            let split = if number == 0 { "train" } else { "test" };
            json!({"prompt": "tell", "response": format!("{number}"), "split": split})
        };
        let all: Vec<Value> = (0..=100).map(row).collect();
        let file = rows.lines(&all);
        for (keep, left, last) in [(0, 100, 101), (4, 4, 101), (200, 100, 101)] {
            let mut read = rows.read(&file, Method::Sft, false).unwrap();
            read.thin_evaluation(keep);
            assert_eq!(read.evaluation.len(), left);
            assert_eq!(read.evaluation[left - 1].row, last);
        }
    }

    #[test]
    fn a_reward_model_learns_no_row_without_a_score() {
        let rows = Rows::new();
        let messages = json!([says("user", "tell"), says("assistant", "once")]);
        let given = rows.one(Method::Reward, json!({"messages": messages, "score": 7}));
        let known = rows.one(
            Method::Reward,
            json!({"prompt": "tell", "response": "once", "score": 7}),
        );
        let given = given.unwrap();
        assert_eq!(given, known.unwrap());
        assert_eq!(given.score, 7.0);
        let none = rows.one(Method::Reward, json!({"messages": messages}));
        let said = none.unwrap_err().to_string();
        assert!(said.contains("row 1 has no `score`"), "{said}");
    }

    #[test]
    fn splits_are_told_by_their_names() {
        let rows = Rows::new();
        let row = |split: Value| json!({"prompt": "a", "response": "b", "split": split});
        let all = ["train", "validation", "valid", "eval", "test"];
        let mut all: Vec<Value> = all.map(|split| row(json!(split))).to_vec();
        all.push(row(Value::Null));
        let read = rows.read(&rows.lines(&all), Method::Sft, false).unwrap();
        let numbers = |examples: &[Example]| examples.iter().map(|e| e.row).collect::<Vec<_>>();
        assert_eq!(numbers(&read.train), [1, 6]);
        assert_eq!(numbers(&read.evaluation), [2, 3, 4, 5]);
        all.push(row(json!("train_prefs")));
        let refused = rows.read(&rows.lines(&all), Method::Sft, false);
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("row 7 is of the split `train_prefs`"),
            "{said}"
        );
    }

    #[test]
    fn an_answer_without_a_token_is_refused() {
        let rows = Rows::new();
        let row = || json!({"prompt": "tell", "response": ""});
        assert!(rows.one(Method::Sft, row()).is_ok());
        std::fs::write(rows.folder.path().join("tokenizer_config.json"), "{}").unwrap();
        let said = rows.one(Method::Sft, row()).unwrap_err().to_string();
        assert!(
            said.contains("row 1 has an answer without a token"),
            "{said}"
        );
    }

    #[test]
    fn rows_of_parquet_are_counted_through() {
        let rows = Rows::new();
        let file = rows.folder.path().join("rows.parquet");
        let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((1..=3000).map(of)))
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
        let read = rows.read(&file, Method::Sft, false).unwrap();
        assert_eq!(read.train.len(), 3000);
        assert!(read.train.iter().zip(1..).all(|(e, row)| e.row == row));
        write(2500);
        let refused = rows.read(&file, Method::Sft, false);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("row 2500 is of the split `dev`"), "{said}");
    }

    #[test]
    fn who_is_told_to_stop_reads_no_further() {
        let rows = Rows::new();
        let row = json!({"prompt": "a", "response": "b"});
        let reading = DatasetReader {
            file: &rows.lines(&[row, json!({"prompt": "a"})]),
            method: Method::Sft,
            in_pairs: false,
            max_length: 1000,
            too_long: Overlength::Drop,
        };
        let stop = AtomicBool::new(true);
        assert!(reading.examples(&rows.chat(), &stop).unwrap().is_none());
    }
}
