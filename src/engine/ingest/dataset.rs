//! Preference data sets: rows of known layouts to prompts and responses.

use std::collections::{HashMap, HashSet};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde_json::{Map, Value};

use super::reason::Reason;
use super::source::Kind;
use super::table_builders::{Prompt, QuarantinedRow, Response, TableBuilders};
use super::{footer, tag, text};
use crate::{Error, Result};
use polyphony_io::columns::parse_columns;
use polyphony_io::hash::short_id;

/// The column mapping of a tabular data set. `prompt`, `response` and `score` are required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    prompt: String,
    response: String,
    score: String,
    prompt_id: Option<String>,
    response_id: Option<String>,
    created_at: Option<String>,
    author: Option<String>,
}

impl Columns {
    /// Parses `prompt=title,response=text,score=votes`, with the optional roles `prompt_id`,
    /// `response_id`, `created_at` and `author`.
    ///
    /// # Errors
    /// When a role is unknown or a required role is missing.
    pub fn parse(text: &str) -> Result<Self> {
        const ROLES: [&str; 7] = [
            "prompt",
            "response",
            "score",
            "prompt_id",
            "response_id",
            "created_at",
            "author",
        ];
        let columns: HashMap<&str, String> = parse_columns(text, &ROLES)?.into_iter().collect();
        let optional = |role: &str| columns.get(role).cloned();
        let required = |role: &'static str| {
            optional(role).ok_or_else(|| Error::Unknown {
                what: "columns",
                given: text.to_owned(),
                known: format!("mappings that name `{role}=COLUMN` too"),
            })
        };
        Ok(Self {
            prompt: required("prompt")?,
            response: required("response")?,
            score: required("score")?,
            prompt_id: optional("prompt_id"),
            response_id: optional("response_id"),
            created_at: optional("created_at"),
            author: optional("author"),
        })
    }

    /// The columns that a file must have.
    pub fn names(&self) -> Vec<&str> {
        let optional = [
            &self.prompt_id,
            &self.response_id,
            &self.created_at,
            &self.author,
        ];
        let required = [&self.prompt, &self.response, &self.score];
        required
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(String::as_str)
            .collect()
    }
}

/// Parser of one data set's rows. A prompt that occurs in many rows is added once.
pub struct Reader<'a> {
    kind: Kind,
    columns: Option<&'a Columns>,
    prompt_tags: &'a [String],
    keep_footers: bool,
    seen: HashSet<String>,
    in_this_row: HashSet<String>,
}

impl<'a> Reader<'a> {
    /// A parser for data sets of `kind`; tabular data sets need `columns`. Unless `keep_footers` is set,
    /// the footers of stories are cut off.
    pub fn new(
        kind: Kind,
        columns: Option<&'a Columns>,
        prompt_tags: &'a [String],
        keep_footers: bool,
    ) -> Self {
        Self {
            kind,
            columns,
            prompt_tags,
            keep_footers,
            seen: HashSet::new(),
            in_this_row: HashSet::new(),
        }
    }

    /// Parses a row and adds its prompt and responses to `rows`.
    pub fn row(&mut self, line: i64, object: &Map<String, Value>, rows: &mut TableBuilders) {
        self.in_this_row.clear();
        let read = match (self.kind, self.columns) {
            (Kind::Preferences, _) => self.preferences(line, object, rows),
            (Kind::LitBench, _) => self.litbench(line, object, rows),
            (_, Some(columns)) => self.tabular(line, object, columns, rows),
            (_, None) => None,
        };
        if read.is_none() {
            let refusal = QuarantinedRow {
                reason: Reason::MalformedLine,
                id: None,
                retrieved_at: None,
                text: &Value::Object(object.clone()).to_string(),
            };
            rows.quarantine(line, &refusal);
        }
    }

    fn preferences(
        &mut self,
        line: i64,
        object: &Map<String, Value>,
        rows: &mut TableBuilders,
    ) -> Option<()> {
        let title = object.get("post_title")?.as_str()?;
        let body = string(object, "post_text").unwrap_or_default();
        let texts = object.get("comment_texts")?.as_array()?;
        let scores = object.get("comment_scores")?.as_array()?;
        let times = object.get("comment_times").and_then(Value::as_array);
        let votes = object.get("post_scores").and_then(score);
        let prompt_id = self.prompt(line, None, (title, body), votes, rows)?;
        for (i, text) in texts.iter().enumerate() {
            let answer = ResponseFields {
                id: None,
                text: text.as_str().unwrap_or_default(),
                score: scores.get(i).and_then(score),
                created_at: times.and_then(|times| times.get(i)).and_then(time),
                author: None,
            };
            self.response(line, &prompt_id, &answer, rows);
        }
        Some(())
    }

    fn litbench(
        &mut self,
        line: i64,
        object: &Map<String, Value>,
        rows: &mut TableBuilders,
    ) -> Option<()> {
        let prompt_id = self.prompt(line, None, (string(object, "prompt")?, ""), None, rows)?;
        for side in ["chosen", "rejected"] {
            let answer = ResponseFields {
                id: None,
                text: string(object, &format!("{side}_story")).unwrap_or_default(),
                score: object.get(&format!("{side}_upvotes")).and_then(score),
                created_at: object.get(&format!("{side}_timestamp")).and_then(time),
                author: None,
            };
            self.response(line, &prompt_id, &answer, rows);
        }
        Some(())
    }

    fn tabular(
        &mut self,
        line: i64,
        object: &Map<String, Value>,
        columns: &Columns,
        rows: &mut TableBuilders,
    ) -> Option<()> {
        let named = |column: &Option<String>| {
            column
                .as_ref()
                .and_then(|name| object.get(name))
                .and_then(as_text)
        };
        let own_id = named(&columns.prompt_id);
        let prompt = string(object, &columns.prompt)?;
        let prompt_id = self.prompt(line, own_id.as_deref(), (prompt, ""), None, rows)?;
        let answer = ResponseFields {
            id: named(&columns.response_id),
            text: string(object, &columns.response)?,
            score: object.get(&columns.score).and_then(score),
            created_at: columns
                .created_at
                .as_ref()
                .and_then(|name| object.get(name))
                .and_then(time),
            author: named(&columns.author),
        };
        self.response(line, &prompt_id, &answer, rows);
        Some(())
    }

    /// Adds the prompt if it is new and returns its id: the id in the data set, or a hash of the text.
    /// `None` when the text is empty.
    fn prompt(
        &mut self,
        line: i64,
        own_id: Option<&str>,
        (title, body): (&str, &str),
        score: Option<f64>,
        rows: &mut TableBuilders,
    ) -> Option<String> {
        let title = text::clean(title);
        let body = text::clean(body);
        let tagged = tag::split(&title, None, self.prompt_tags);
        if tagged.title.is_empty() && body.is_empty() {
            return None;
        }
        let id = own_id.map_or_else(|| short_id(&[tagged.title, &body]), str::to_owned);
        if self.seen.insert(id.clone()) {
            let prompt = Prompt {
                id: &id,
                tag: tagged.tag.as_deref(),
                title: tagged.title,
                body: &body,
                score,
                created_at: None,
                retrieved_at: None,
            };
            rows.prompt(line, &prompt);
        }
        Some(id)
    }

    /// Adds a response, or quarantines it with a reason.
    fn response(
        &mut self,
        line: i64,
        prompt_id: &str,
        answer: &ResponseFields<'_>,
        rows: &mut TableBuilders,
    ) {
        let text = text::clean(answer.text);
        let id = answer
            .id
            .clone()
            .unwrap_or_else(|| short_id(&[prompt_id, &text]));
        let removed = matches!(&*text, "[deleted]" | "[removed]");
        let reason = if text.is_empty() {
            Some(Reason::EmptyText)
        } else if removed {
            Some(Reason::DeletedOrRemoved)
        } else if answer.score.is_none() {
            Some(Reason::NullScore)
        } else if !self.in_this_row.insert(id.clone()) {
            Some(Reason::Duplicate)
        } else {
            None
        };
        if let Some(reason) = reason {
            let refusal = QuarantinedRow {
                reason,
                id: Some(&id),
                retrieved_at: None,
                text: &text,
            };
            return rows.quarantine(line, &refusal);
        }
        let (story, footer) = footer::split_unless(self.keep_footers, &text);
        let row = Response {
            id: &id,
            prompt_id,
            text: story,
            score: answer.score.unwrap_or_default(),
            created_at: answer.created_at,
            retrieved_at: None,
            footer,
            author: answer.author.as_deref(),
        };
        rows.response(line, &row);
    }
}

/// A response as it occurs in a data set.
struct ResponseFields<'a> {
    id: Option<String>,
    text: &'a str,
    score: Option<f64>,
    created_at: Option<i64>,
    author: Option<String>,
}

fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// A string or number as an id.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A score from a number or numeric string, as it is; `None` for what is not finite.
fn score(value: &Value) -> Option<f64> {
    let score = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    score.filter(|score: &f64| score.is_finite())
}

/// An integer from a number or numeric string; fractions are truncated.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => {
            let text = text.trim();
            text.parse()
                .ok()
                .or_else(|| text.parse::<f64>().ok().and_then(whole))
        }
        _ => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    (number.abs() < 9e18).then_some(number as i64)
}

/// A time in seconds of UTC, from a number of seconds or a date string.
fn time(value: &Value) -> Option<i64> {
    integer(value).or_else(|| {
        let nanos = string_to_timestamp_nanos(value.as_str()?).ok()?;
        Some(nanos.div_euclid(1_000_000_000))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: Kind, columns: Option<&Columns>, objects: &[Value]) -> [usize; 4] {
        let mut rows = TableBuilders::new(&std::sync::Arc::from("test"));
        let mut reader = Reader::new(kind, columns, &[], false);
        for (line, object) in (1..).zip(objects) {
            reader.row(line, object.as_object().unwrap(), &mut rows);
        }
        let batches = rows.finish().unwrap().batches;
        batches.map(|batch| batch.map_or(0, |batch| batch.num_rows()))
    }

    #[test]
    fn a_preferences_row_becomes_a_prompt_with_its_responses() {
        let row = json!({
            "post_title": "[WP] A door.", "post_text": "", "post_scores": 9,
            "comment_texts": ["One.", "[removed]", "Two."], "comment_scores": [4, 2, null],
            "comment_times": ["2019-01-01 00:00:00", "1546300800", null],
        });
        assert_eq!(
            read(Kind::Preferences, None, &[row, json!({"post_title": 3})]),
            [1, 1, 3, 0]
        );
    }

    #[test]
    fn a_litbench_prompt_in_several_rows_is_added_once() {
        let row = json!({
            "prompt": "A door.", "chosen_story": "One.", "rejected_story": "Two.",
            "chosen_upvotes": 40, "rejected_upvotes": "12",
            "chosen_timestamp": "2019-01-01T00:00:00", "rejected_timestamp": null,
        });
        assert_eq!(
            read(Kind::LitBench, None, &[row.clone(), row]),
            [1, 4, 0, 0]
        );
    }

    #[test]
    fn a_tabular_data_set_is_read_through_its_column_mapping() {
        let columns = Columns::parse("prompt=p, response=r,score=s,prompt_id=id").unwrap();
        let rows = [
            json!({"p": "A door.", "r": "One.", "s": "3.0", "id": 7}),
            json!({"p": "A door.", "r": "", "s": 1, "id": 7}),
            json!({"p": "", "r": "x", "s": 1, "id": 8}),
        ];
        assert_eq!(read(Kind::Tabular, Some(&columns), &rows), [1, 1, 2, 0]);
    }

    #[test]
    fn an_incomplete_column_mapping_is_an_error() {
        let message = |text: &str| Columns::parse(text).unwrap_err().to_string();
        assert!(message("prompt=p,response=r").contains("`score=COLUMN`"));
        assert!(message("prompt=p,tale=r").contains("`tale=r`"));
        assert!(message("prompt").contains("ROLE=COLUMN"));
    }

    #[test]
    fn times_are_read_as_numbers_or_dates() {
        assert_eq!(time(&json!("2019-01-01T00:00:00")), Some(1_546_300_800));
        assert_eq!(time(&json!(1_546_300_800.0)), Some(1_546_300_800));
        for absent in ["soon", "NaN", "inf", "1e300"] {
            assert_eq!(time(&json!(absent)), None);
        }
    }
}
