//! Answers of a study: the reader of annotators' tables and of Potato's folder of answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use polyphony_engine::{Error, Result};
use polyphony_io::format;
use polyphony_io::progress::Progress;
use polyphony_io::records::{self, ReadOptions};
use serde::Serialize;
use serde_json::{Map, Value};

use super::statistics::{ItemAnswers, QuestionResult, question_result};
use super::{Item, Key, potato};

/// The questions of the sheet.
const QUESTIONS: [&str; 2] = ["quality", "diversity"];

/// The hint of an error about the columns of answers.
const EXPECTED: &str = "expected id, annotator, quality and diversity as in sheet.csv (separated by a comma, \
                        semicolon, tab or |), with answers A, B, A-1 .. B-9 or `hard to decide`";

/// The maximum number of column names in an error.
const MAX_COLUMNS: usize = 30;

/// The result of a study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyResult {
    /// The two models.
    pub models: [String; 2],
    /// The number of annotators.
    pub annotators: usize,
    /// The number of resamples of the cluster bootstrap.
    pub bootstrap_samples: usize,
    /// The random seed of the cluster bootstrap.
    pub seed: u64,
    /// The result of each question.
    pub questions: Vec<QuestionResult>,
    /// The dropped answers, by reason.
    pub dropped: BTreeMap<String, Dropped>,
}

/// The answers that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Their number.
    pub count: u64,
    /// The place of the first, as `file:row`.
    pub first: String,
}

/// An answer: the annotator, the item, and the index of the winning model; `None` is undecided.
struct Answer {
    annotator: String,
    item: String,
    wins: Option<usize>,
}

/// Reads the answers of annotators and computes the result of the study.
///
/// Files are CSV, JSON lines or Parquet with `id` and one column per question. An answer is `A`, `B`, a text
/// of a side (`A-2`), or begins with `hard`, `tie` or `neither` (undecided). The exports of Potato are read
/// as well (`instance_id`, `user` or `user_id`, and labels in separate columns such as `quality:::A` or
/// `quality.A`, or in an object `labels`), and so is Potato's folder of answers. The last answer of a person
/// to an item counts, in the order of `files`. Without an annotator, the path of the file identifies the
/// person. `bootstrap_samples` and `seed` are those of the intervals of answers.
///
/// # Errors
/// When a file cannot be read, lacks the columns, an item is not in the key, or an answer is none of the above.
pub fn read(
    key: &Key,
    files: &[PathBuf],
    (bootstrap_samples, seed): (usize, u64),
    progress: &dyn Progress,
) -> Result<StudyResult> {
    let mut collected = Answers::default();
    for file in files {
        let states = potato::states(file)?;
        for path in &states {
            for (line, row) in (1..).zip(potato::rows(path)?) {
                collected.row(key, path, line, &row)?;
            }
        }
        if states.is_empty() {
            collected.tables(key, file, progress)?;
        }
    }
    let questions = QUESTIONS.iter().filter_map(|question| {
        let items = by_item(collected.choices.get(question)?);
        Some(question_result(question, &items, bootstrap_samples, seed))
    });
    let questions: Vec<QuestionResult> = questions.collect();
    if questions.is_empty() {
        let path = files.first().map_or(Path::new("answers"), PathBuf::as_path);
        let columns: Vec<&str> = collected.columns.iter().map(String::as_str).collect();
        let message = match columns.join(", ") {
            none if none.is_empty() => "holds no answer".to_owned(),
            columns => format!("holds no answer; its columns are {columns}"),
        };
        return Err(Error::input(path, message, EXPECTED));
    }
    Ok(StudyResult {
        models: key.models.clone(),
        annotators: collected.annotators.len(),
        bootstrap_samples,
        seed,
        questions,
        dropped: collected.dropped,
    })
}

/// The answers read so far.
#[derive(Default)]
struct Answers {
    /// By question: which model an answer to an item, by a person, is for.
    choices: BTreeMap<&'static str, BTreeMap<(String, String), Option<usize>>>,
    annotators: BTreeSet<String>,
    dropped: BTreeMap<String, Dropped>,
    /// The columns of all rows.
    columns: BTreeSet<String>,
}

/// The answers to each item.
fn by_item(answers: &BTreeMap<(String, String), Option<usize>>) -> Vec<ItemAnswers> {
    let mut items: BTreeMap<&str, ItemAnswers> = BTreeMap::new();
    for ((item, _), wins) in answers {
        items.entry(item).or_default().push(*wins);
    }
    items.into_values().collect()
}

impl Answers {
    /// Adds the answers of a file, or of all files of a folder.
    fn tables(&mut self, key: &Key, file: &Path, progress: &dyn Progress) -> Result<()> {
        for source in format::find_files(&[file.to_path_buf()], &|_| true)? {
            let outcome = records::read(
                &source,
                &ReadOptions::default(),
                progress,
                &mut |(line, object)| {
                    let object =
                        object.map_err(|text| records::malformed_row(&source, line, text))?;
                    self.row(key, &source.path, line, &object)
                },
            )?;
            outcome.require_complete(&source.path)?;
        }
        Ok(())
    }

    /// Adds the answers of a row.
    fn row(
        &mut self,
        key: &Key,
        path: &Path,
        line: i64,
        object: &Map<String, Value>,
    ) -> Result<()> {
        for column in object.keys() {
            if self.columns.len() < MAX_COLUMNS && !self.columns.contains(column) {
                self.columns.insert(column.clone());
            }
        }
        let id = first(object, &["id", "instance_id"]);
        if id.is_empty() {
            let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
            let columns = columns.join(", ");
            let message = format!("row {line} has no item id; its columns are {columns}");
            return Err(Error::input(path, message, EXPECTED));
        }
        let Some(item) = key.items.get(&id) else {
            let message = format!("row {line} answers `{id}`, which is no item of the key");
            let hint = "name the key.json that was written with this sheet";
            return Err(Error::input(path, message, hint));
        };
        for question in QUESTIONS {
            let mut count = |what: &str| {
                let reason = format!("{what} on {question}");
                let dropped = self.dropped.entry(reason).or_insert_with(|| {
                    let name = path.file_name().unwrap_or(path.as_os_str());
                    let first = format!("{}:{line}", name.to_string_lossy());
                    Dropped { count: 0, first }
                });
                dropped.count += 1;
            };
            match answer(object, &id, question, item) {
                Ok(Some(mut answer)) => {
                    if answer.annotator.is_empty() {
                        answer.annotator = path.to_string_lossy().into_owned();
                    }
                    self.annotators.insert(answer.annotator.clone());
                    let of_question = self.choices.entry(question).or_default();
                    let key = (answer.item, answer.annotator);
                    if of_question.insert(key, answer.wins).is_some() {
                        count("superseded by a later answer");
                    }
                }
                Ok(None) => count("no answer"),
                Err(text) => return Err(unknown(path, line, question, &text)),
            }
        }
        Ok(())
    }
}

fn cell_text(object: &Map<String, Value>, name: &str) -> String {
    match object.get(name) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The text of the first non-empty column of `names`; empty if there is none.
fn first(object: &Map<String, Value>, names: &[&str]) -> String {
    let mut texts = names.iter().map(|name| cell_text(object, name));
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// The text of the answer to a question: from its column or from Potato's `labels`, or else the names of the
/// labels that are set, in separate columns or in an object.
fn chosen(object: &Map<String, Value>, question: &str) -> String {
    let nested = object.get("labels").and_then(Value::as_object);
    let holders = [Some(object), nested].into_iter().flatten();
    let mut texts = holders.clone().map(|holder| cell_text(holder, question));
    if let Some(text) = texts.find(|text| !text.is_empty()) {
        return text;
    }
    let in_columns = object.keys().filter_map(|name| {
        let rest = name.strip_prefix(question)?;
        let label = rest.strip_prefix(":::").or(rest.strip_prefix('.'))?;
        is_chosen(object, name).then_some(label)
    });
    let inner = holders.filter_map(|holder| holder.get(question)?.as_object());
    let in_objects = inner.flat_map(|labels| {
        let chosen = labels.keys().filter(|label| is_chosen(labels, label));
        chosen.map(String::as_str)
    });
    let labels = in_columns.chain(in_objects).map(str::trim);
    labels.collect::<Vec<_>>().join(" and ")
}

/// Whether a label is set: its value is neither empty nor a form of false or null.
fn is_chosen(labels: &Map<String, Value>, name: &str) -> bool {
    let value = match labels.get(name) {
        Some(Value::Bool(is_chosen)) => is_chosen.to_string(),
        _ => cell_text(labels, name),
    };
    !["", "0", "0.0", "false", "null", "none", "nan"].contains(&value.to_lowercase().as_str())
}

/// The answer of a row to a question; `None` if empty. The error is the text that is not a valid answer.
fn answer(
    object: &Map<String, Value>,
    id: &str,
    question: &str,
    item: &Item,
) -> std::result::Result<Option<Answer>, String> {
    let text = chosen(object, question);
    let lower = text.to_lowercase();
    let side = |letter: char| {
        let rest = lower.strip_prefix(letter)?;
        let number = rest.trim_start_matches(['-', ' ', '_']);
        number
            .chars()
            .all(|letter| letter.is_ascii_digit())
            .then_some(())
    };
    let wins = if lower.is_empty() {
        return Ok(None);
    } else if side('a').is_some() {
        Some(item.a)
    } else if side('b').is_some() {
        Some(1 - item.a)
    } else if ["hard", "tie", "neither"]
        .iter()
        .any(|word| lower.starts_with(word))
    {
        None
    } else {
        return Err(text);
    };
    Ok(Some(Answer {
        annotator: first(object, &["annotator", "user", "user_id"]),
        item: id.to_owned(),
        wins,
    }))
}

fn unknown(path: &Path, line: i64, question: &str, text: &str) -> Error {
    Error::input(
        path,
        format!("row {line} answers `{text}` on {question}"),
        "answers are A, B, A-1 .. B-9, or `hard to decide`",
    )
}

#[cfg(test)]
mod tests {
    use polyphony_io::progress::NoProgress;

    use super::*;

    fn key() -> Key {
        let item = |a| Item {
            prompt_id: "p".to_owned(),
            a,
        };
        Key {
            format: "polyphony-study".to_owned(),
            models: ["one".to_owned(), "other".to_owned()],
            seed: 0,
            inputs: BTreeMap::new(),
            items: BTreeMap::from([("1".to_owned(), item(0)), ("2".to_owned(), item(1))]),
        }
    }

    fn of(files: &[(&str, &[u8])]) -> Result<StudyResult> {
        let folder = tempfile::tempdir().unwrap();
        let paths = files.iter().map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        read(&key(), &paths.collect::<Vec<_>>(), (200, 1), &NoProgress)
    }

    #[test]
    fn answers_without_annotator_belong_to_their_file() {
        let table = b"id,annotator,quality\n1,,A\n2,,B\n1,,B\n";
        let read = of(&[("x.csv", table), ("y.csv", b"id,quality\n1,A\n")]).unwrap();
        assert_eq!(read.annotators, 2);
        assert_eq!(read.questions[0].answers, 3);
        let dropped = &read.dropped["superseded by a later answer on quality"];
        assert_eq!((dropped.count, dropped.first.as_str()), (1, "x.csv:4"));
    }

    /// The folder in which Potato 2 stores answers; its exports may lack the answers of the last minute.
    #[test]
    fn answer_folder_of_potato_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = |user: &str, labels: &str| {
            let path = folder.path().join(user);
            std::fs::create_dir(&path).unwrap();
            let text = format!(
                r#"{{"user_id": "{user}", "instance_id_to_label_to_value": {labels}, "origin": {{}}}}"#
            );
            std::fs::write(path.join("user_state.json"), text).unwrap();
        };
        let label =
            |question, name| format!(r#"[{{"schema": "{question}", "name": "{name}"}}, "{name}"]"#);
        let (best, apart) = (
            label("quality", "A-2"),
            label("diversity", "Hard to decide"),
        );
        state(
            "ann",
            &format!(r#"{{"1": [{best}, {apart}], "2": [{best}]}}"#),
        );
        state("bob", &format!(r#"{{"1": [{best}]}}"#));
        state("cy", "{}");
        std::fs::write(folder.path().join("user_config.json"), "{}").unwrap();
        let files = [folder.path().to_path_buf()];
        let read = read(&key(), &files, (200, 1), &NoProgress).unwrap();
        assert_eq!(read.annotators, 2);
        assert_eq!(
            (read.questions[0].answers, read.questions[0].won),
            (3, [2, 1])
        );
        assert_eq!(
            (read.questions[1].answers, read.questions[1].won),
            (1, [0, 0])
        );
        // Another table in that folder is an error, not silently ignored.
        let paper = folder.path().join("paper.csv");
        std::fs::write(&paper, "id,annotator,quality\n1,dee,B\n").unwrap();
        let error = super::read(&key(), &files, (200, 1), &NoProgress)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("paper.csv: lies in a folder of Potato's"),
            "{error}"
        );
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("paper.csv");
        std::fs::rename(&paper, &moved).unwrap();
        let both = super::read(&key(), &[moved, files[0].clone()], (200, 1), &NoProgress).unwrap();
        assert_eq!((both.annotators, both.questions[0].answers), (3, 4));
        std::fs::write(folder.path().join("bob/user_state.json"), "[]").unwrap();
        let error = super::read(&key(), &files, (200, 1), &NoProgress)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bob/user_state.json: is none of Potato's"),
            "{error}"
        );
    }

    #[test]
    fn tables_of_any_separator_are_read_alike() {
        let table = "id,annotator,quality,diversity\n1,me,A,B-2\n2,me,B,Hard to decide\n";
        let result = of(&[("x.csv", table.as_bytes())]).unwrap();
        assert_eq!(result.questions[0].won, [2, 0]);
        for separator in [";", "\t", "|"] {
            let other = table.replace(',', separator);
            // Excel writes a byte order mark and the line ends of Windows.
            let excel = format!("\u{feff}{}", other.replace('\n', "\r\n"));
            for text in [other, excel] {
                assert_eq!(of(&[("x.csv", text.as_bytes())]).unwrap(), result, "{text}");
            }
        }
        let tabs = table.replace(',', "\t");
        assert_eq!(of(&[("x.tsv", tabs.as_bytes())]).unwrap(), result);
        let colons = table.replace(',', ":");
        let error = of(&[("x.csv", colons.as_bytes())]).unwrap_err().to_string();
        let expected = "row 2 has no item id; its columns are id:annotator:quality:diversity";
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("expected id, annotator, quality"), "{error}");
    }

    #[test]
    fn rows_that_are_not_answers_are_an_error() {
        let error_of = |name, text: &[u8]| of(&[(name, text)]).unwrap_err().to_string();
        let row = b"{\"id\":1,\"quality\":\"A\"}\n";
        let odd = [&row[..], b"what\n"].concat();
        assert!(error_of("x.jsonl", &odd).contains("row 2 "));
        assert!(error_of("x.csv", b"id,quality\n1\n").contains("row 2 "));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, row).unwrap();
        let compressed = packed.finish().unwrap();
        let error = error_of("x.jsonl.gz", &compressed[..compressed.len() - 6]);
        assert!(error.contains("is truncated"), "{error}");
    }

    #[test]
    fn exported_labels_of_potato_are_read() {
        let table = b"user,instance_id,quality:::A,quality:::B,diversity:::Hard to decide\n\
            me,1,true,,1\nyou,2,,B,\n";
        let read = of(&[("x.csv", table)]).unwrap();
        assert_eq!(read.annotators, 2);
        assert_eq!(read.questions[0].won, [2, 0]);
        assert_eq!(
            (read.questions[1].answers, read.questions[1].won),
            (1, [0, 0])
        );
        let rows = b"{\"id\":\"1\",\"user_id\":\"me\",\"labels\":{\"quality\":{\"A\":true}}}\n\
            {\"instance_id\":2,\"user_id\":\"you\",\"labels\":{\"quality\":\"B\"}}\n";
        let read = of(&[("x.jsonl", rows)]).unwrap();
        assert_eq!((read.annotators, read.questions[0].won), (2, [2, 0]));
        let dots = b"user_id,instance_id,quality.A,quality.B\nme,1,1,\nyou,1,,1\n";
        let read = of(&[("x.csv", dots)]).unwrap();
        assert_eq!((read.annotators, read.questions[0].won), (2, [1, 1]));
        let both = b"user,instance_id,quality:::A,quality:::B\nme,1,1,1\n";
        assert!(of(&[("x.csv", both)]).is_err());
    }
}
