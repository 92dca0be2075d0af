//! How do rows become columns? Builders for the tables that ingest fills.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};

use super::reason::Reason;
use super::text;
use crate::{Result, schema};
use polyphony_io::hash::{Sha256, short_id};

/// How many bytes of a refused text the quarantine keeps.
const MAX_QUARANTINED_TEXT: usize = 200;

/// Room for the texts of a block of lines, so that they are not copied as they come.
const TEXTS: usize = 512;
const TEXT_BYTES: usize = 1 << 20;

/// A prompt before it is a row. Times are in seconds.
#[derive(Debug, Default)]
pub struct Prompt<'a> {
    /// Its id in its source.
    pub id: &'a str,
    /// Its leading tag, if any.
    pub tag: Option<&'a str>,
    /// The title without tags.
    pub title: &'a str,
    /// The text below the title.
    pub body: &'a str,
    /// Its votes.
    pub score: Option<i64>,
    /// When it was posted.
    pub created_at: Option<i64>,
    /// When its votes were read.
    pub retrieved_at: Option<i64>,
}

/// A response before it is a row. Times are in seconds.
#[derive(Debug, Default)]
pub struct Response<'a> {
    /// Its id in its source.
    pub id: &'a str,
    /// The id of its prompt.
    pub prompt_id: &'a str,
    /// The story, cleaned.
    pub text: &'a str,
    /// Its votes.
    pub score: i64,
    /// When it was posted.
    pub created_at: Option<i64>,
    /// When its votes were read.
    pub retrieved_at: Option<i64>,
    /// Who wrote it; only a hash is stored.
    pub author: Option<&'a str>,
}

/// A refused row before it is a row of the quarantine.
#[derive(Debug)]
pub struct QuarantinedRow<'a> {
    /// Why it is refused.
    pub reason: Reason,
    /// Its id, when it had one.
    pub id: Option<&'a str>,
    /// When it was retrieved, in seconds.
    pub retrieved_at: Option<i64>,
    /// Its text, or the whole line.
    pub text: &'a str,
}

/// The rows of one stretch of a source, as columns under way.
pub struct TableBuilders {
    source: Arc<str>,
    prompts: PromptColumns,
    responses: ResponseColumns,
    quarantined: QuarantineColumns,
    pending: ResponseColumns,
    /// Rows that were passed over because they belong to another subreddit.
    pub skipped: u64,
    /// Lines that were read.
    pub lines: u64,
}

/// Finished rows: a batch a table, in the order of [`schema::ingested`].
pub struct TableBatches {
    /// The batches; `None` where a table got no row.
    pub batches: [Option<RecordBatch>; 4],
    /// Rows that were passed over because they belong to another subreddit.
    pub skipped: u64,
    /// Lines that were read.
    pub lines: u64,
}

impl TableBuilders {
    /// Rows that come from `source`.
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

    /// Takes a prompt that stood in line `line`.
    pub fn prompt(&mut self, line: i64, row: &Prompt<'_>) {
        let to = &mut self.prompts;
        to.prompt_id.append_value(row.id);
        to.source.append_value(&self.source);
        to.line.append_value(line);
        to.tag.append_option(row.tag);
        to.title.append_value(row.title);
        to.body.append_value(row.body);
        to.prompt.append_value(join(row.title, row.body));
        to.score.append_option(row.score);
        to.created_at.append_option(millis(row.created_at));
        to.retrieved_at.append_option(millis(row.retrieved_at));
        to.split.append_value(split_of(row.id));
    }

    /// Takes a response that stood in line `line`.
    pub fn response(&mut self, line: i64, row: &Response<'_>) {
        self.responses.push(&self.source, line, row);
    }

    /// Keeps a response whose prompt is not there.
    pub fn pending(&mut self, line: i64, row: &Response<'_>) {
        self.pending.push(&self.source, line, row);
    }

    /// Refuses what stood in line `line`.
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

    /// The rows as record batches.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a fault of this file.
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
    score: Int64Builder,
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
    score: Int64Builder,
    created_at: TimestampMillisecondBuilder,
    retrieved_at: TimestampMillisecondBuilder,
    author_hash: StringBuilder,
    words: Int64Builder,
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

/// Which side of the split a prompt stands on: one in ten is `test`, decided by its id alone, so
/// that no prompt is ever on both sides.
pub fn split_of(prompt_id: &str) -> &'static str {
    let digest = Sha256::digest(prompt_id.as_bytes());
    let number = u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ]);
    if number.is_multiple_of(10) {
        "test"
    } else {
        "train"
    }
}

/// The text that models see: the title, and below it the body if there is one.
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
