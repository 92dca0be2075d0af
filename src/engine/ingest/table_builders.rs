//! Table builders: parsed rows to record batches of the tables that ingest fills.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};

use super::reason::Reason;
use super::{prompt_key, text};
use crate::{Result, schema};
use polyphony_io::hash::short_id;

/// The maximum length in bytes of a quarantined row's text.
const MAX_QUARANTINED_TEXT: usize = 200;

/// The initial capacity for the texts of a block of lines, which avoids copies while they grow.
const TEXTS: usize = 512;
const TEXT_BYTES: usize = 1 << 20;

/// A parsed prompt. Times are in seconds of UTC.
#[derive(Debug, Default)]
pub struct Prompt<'a> {
    /// The id in its source.
    pub id: &'a str,
    /// The leading tag, if any.
    pub tag: Option<&'a str>,
    /// The title without tags.
    pub title: &'a str,
    /// The text below the title.
    pub body: &'a str,
    /// The votes.
    pub score: Option<f64>,
    /// The time of posting.
    pub created_at: Option<i64>,
    /// The time at which the votes were read.
    pub retrieved_at: Option<i64>,
}

/// A parsed response. Times are in seconds of UTC.
#[derive(Debug, Default)]
pub struct Response<'a> {
    /// The id in its source.
    pub id: &'a str,
    /// The id of the prompt.
    pub prompt_id: &'a str,
    /// The cleaned story.
    pub text: &'a str,
    /// The votes, or another score; finite.
    pub score: f64,
    /// The time of posting.
    pub created_at: Option<i64>,
    /// The time at which the votes were read.
    pub retrieved_at: Option<i64>,
    /// What was cut from the end of the story, if anything.
    pub footer: Option<&'a str>,
    /// The author; only a hash is stored.
    pub author: Option<&'a str>,
}

/// A rejected row.
#[derive(Debug)]
pub struct QuarantinedRow<'a> {
    /// The reason.
    pub reason: Reason,
    /// The id, if the row has one.
    pub id: Option<&'a str>,
    /// The time of retrieval in seconds of UTC.
    pub retrieved_at: Option<i64>,
    /// The text, or the entire line.
    pub text: &'a str,
}

/// Column builders for a block of rows of one source.
pub struct TableBuilders {
    source: Arc<str>,
    prompts: PromptColumns,
    responses: ResponseColumns,
    quarantined: QuarantineColumns,
    pending: ResponseColumns,
    /// The number of rows of other subreddits, which are skipped.
    pub skipped: u64,
    /// The number of lines read.
    pub lines: u64,
}

/// Finished rows: a batch per table, in the order of [`schema::ingested`].
pub struct TableBatches {
    /// The batches; `None` for a table without rows.
    pub batches: [Option<RecordBatch>; 4],
    /// The number of rows of other subreddits, which were skipped.
    pub skipped: u64,
    /// The number of lines read.
    pub lines: u64,
}

impl TableBuilders {
    /// Empty builders for rows of `source`.
    pub fn new(source: &Arc<str>) -> Self {
        Self {
            source: Arc::clone(source),
            prompts: PromptColumns::default(),
            responses: ResponseColumns {
                text: StringBuilder::with_capacity(TEXTS, TEXT_BYTES),
                ..ResponseColumns::default()
            },
            quarantined: QuarantineColumns::default(),
            pending: ResponseColumns::default(),
            skipped: 0,
            lines: 0,
        }
    }

    /// Adds the prompt of line `line`.
    pub fn prompt(&mut self, line: i64, row: &Prompt<'_>) {
        let to = &mut self.prompts;
        to.prompt_id.append_value(row.id);
        to.source.append_value(&self.source);
        to.line.append_value(line);
        to.tag.append_option(row.tag);
        to.title.append_value(row.title);
        to.body.append_value(row.body);
        let prompt = join(row.title, row.body);
        let key = prompt_key::of(&prompt);
        to.prompt.append_value(prompt);
        to.prompt_key.append_value(&key);
        to.score.append_option(row.score);
        to.created_at.append_option(millis(row.created_at));
        to.retrieved_at.append_option(millis(row.retrieved_at));
        to.split.append_value(prompt_key::split(&key));
    }

    /// Adds the response of line `line`.
    pub fn response(&mut self, line: i64, row: &Response<'_>) {
        self.responses.push(&self.source, line, row);
    }

    /// Adds a response whose prompt is not in the store to `pending`.
    pub fn pending(&mut self, line: i64, row: &Response<'_>) {
        self.pending.push(&self.source, line, row);
    }

    /// Adds a rejected row of line `line` to the quarantine.
    pub fn quarantine(&mut self, line: i64, row: &QuarantinedRow<'_>) {
        let to = &mut self.quarantined;
        to.source.append_value(&self.source);
        to.line.append_value(line);
        to.reason.append_value(row.reason.name());
        to.id.append_option(row.id);
        to.retrieved_at.append_option(millis(row.retrieved_at));
        to.text
            .append_value(text::start(row.text, MAX_QUARANTINED_TEXT));
    }

    /// Finishes the builders and returns the rows as record batches.
    ///
    /// # Errors
    /// When Arrow rejects the columns, which would be a bug of this module.
    pub fn finish(mut self) -> Result<TableBatches> {
        let columns = [
            self.prompts.finish(),
            self.responses.finish(),
            self.quarantined.finish(),
            self.pending.finish(),
        ];
        let mut batches = [None, None, None, None];
        for (slot, ((_, schema), columns)) in batches
            .iter_mut()
            .zip(schema::ingested().into_iter().zip(columns))
        {
            let batch = RecordBatch::try_new(schema, columns)?;
            *slot = (batch.num_rows() > 0).then_some(batch);
        }
        Ok(TableBatches {
            batches,
            skipped: self.skipped,
            lines: self.lines,
        })
    }
}

#[derive(Default)]
struct PromptColumns {
    prompt_id: StringBuilder,
    source: StringBuilder,
    line: Int64Builder,
    tag: StringBuilder,
    title: StringBuilder,
    body: StringBuilder,
    prompt: StringBuilder,
    prompt_key: StringBuilder,
    score: Float64Builder,
    created_at: TimestampMillisecondBuilder,
    retrieved_at: TimestampMillisecondBuilder,
    split: StringBuilder,
}

impl PromptColumns {
    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.prompt_id.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.tag.finish()),
            Arc::new(self.title.finish()),
            Arc::new(self.body.finish()),
            Arc::new(self.prompt.finish()),
            Arc::new(self.prompt_key.finish()),
            Arc::new(self.score.finish()),
            Arc::new(self.created_at.finish().with_timezone("UTC")),
            Arc::new(self.retrieved_at.finish().with_timezone("UTC")),
            Arc::new(self.split.finish()),
        ]
    }
}

#[derive(Default)]
struct ResponseColumns {
    response_id: StringBuilder,
    prompt_id: StringBuilder,
    source: StringBuilder,
    line: Int64Builder,
    text: StringBuilder,
    score: Float64Builder,
    created_at: TimestampMillisecondBuilder,
    retrieved_at: TimestampMillisecondBuilder,
    author_hash: StringBuilder,
    words: Int64Builder,
    footer: StringBuilder,
}

impl ResponseColumns {
    fn push(&mut self, source: &str, line: i64, row: &Response<'_>) {
        self.response_id.append_value(row.id);
        self.prompt_id.append_value(row.prompt_id);
        self.source.append_value(source);
        self.line.append_value(line);
        self.text.append_value(row.text);
        self.score.append_value(row.score);
        self.created_at.append_option(millis(row.created_at));
        self.retrieved_at.append_option(millis(row.retrieved_at));
        self.author_hash
            .append_option(row.author.map(|author| short_id(&[author])));
        self.words.append_value(text::words(row.text));
        self.footer.append_option(row.footer);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.response_id.finish()),
            Arc::new(self.prompt_id.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.score.finish()),
            Arc::new(self.created_at.finish().with_timezone("UTC")),
            Arc::new(self.retrieved_at.finish().with_timezone("UTC")),
            Arc::new(self.author_hash.finish()),
            Arc::new(self.words.finish()),
            Arc::new(self.footer.finish()),
        ]
    }
}

#[derive(Default)]
struct QuarantineColumns {
    source: StringBuilder,
    line: Int64Builder,
    reason: StringBuilder,
    id: StringBuilder,
    retrieved_at: TimestampMillisecondBuilder,
    text: StringBuilder,
}

impl QuarantineColumns {
    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.source.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.retrieved_at.finish().with_timezone("UTC")),
            Arc::new(self.text.finish()),
        ]
    }
}

/// The text that models see: the title, followed by the body if there is one.
fn join(title: &str, body: &str) -> String {
    match (title, body) {
        (title, "") => title.to_owned(),
        ("", body) => body.to_owned(),
        (title, body) => format!("{title}\n{body}"),
    }
}

fn millis(seconds: Option<i64>) -> Option<i64> {
    seconds.and_then(|seconds| seconds.checked_mul(1000))
}
