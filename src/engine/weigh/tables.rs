//! Tables of a preference file: its prompts, its distinct responses, and the pair of each row.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polyphony_io::hash::short_id;

use super::layout::Prompt;
use crate::ingest::text::words;
use crate::store::{Manifest, Part, PartWriter, Store};
use crate::{Result, schema};

/// The number of rows that are collected before they are written.
const ROWS_A_BATCH: usize = 4096;

/// The position of a row's pair in the file, from 0.
const FILE_ROW: &str = "file_row";

/// Writer of the tables. Prompts and responses are written once, by their texts.
pub(super) struct Tables {
    source: String,
    prompts: Table<PromptRow>,
    responses: Table<ResponseRow>,
    pairs: Table<PairRow>,
    seen_prompts: HashSet<u64>,
    seen_responses: HashSet<u64>,
    rows: i64,
}

/// The finished parts of the tables.
pub(super) struct Parts([(&'static str, Part); 3]);

struct PromptRow {
    id: String,
    line: i64,
    text: String,
    split: String,
}

struct ResponseRow {
    id: String,
    prompt_id: String,
    line: i64,
    text: String,
    score: Option<f64>,
}

struct PairRow {
    file_row: i64,
    prompt_id: String,
    chosen_id: String,
    rejected_id: String,
}

/// A response's text, and its score where the file has one.
pub(super) type Scored<'a> = (&'a str, Option<f64>);

impl Tables {
    /// Tables of the file `source`, as parts of a store that are not committed.
    pub(super) fn create(store: &Store, source: &str) -> Result<Self> {
        Ok(Self {
            source: source.to_owned(),
            prompts: Table::create(store, schema::PROMPTS, &schema::prompts())?,
            responses: Table::create(store, schema::RESPONSES, &schema::responses())?,
            pairs: Table::create(store, schema::PAIR_IDS, &pair_ids())?,
            seen_prompts: HashSet::new(),
            seen_responses: HashSet::new(),
            rows: 0,
        })
    }

    /// Adds the pair of the next row of the file, which stands in line `line`.
    pub(super) fn pair(
        &mut self,
        line: i64,
        prompt: Prompt,
        chosen: Scored<'_>,
        rejected: Scored<'_>,
        split: &str,
    ) -> Result<()> {
        let prompt_id = prompt_id(&prompt);
        if self.seen_prompts.insert(number(&prompt_id)) {
            let row = PromptRow {
                id: prompt_id.clone(),
                line,
                text: prompt.text,
                split: split.to_owned(),
            };
            self.prompts.push(row, &self.source)?;
        }
        let (chosen_id, _) = self.response(line, &prompt_id, chosen)?;
        let (rejected_id, _) = self.response(line, &prompt_id, rejected)?;
        let row = PairRow {
            file_row: self.rows,
            prompt_id,
            chosen_id,
            rejected_id,
        };
        self.rows += 1;
        self.pairs.push(row, &self.source)
    }

    /// Adds a response that stands in no pair, from line `line` of a further file. `None` if no row of the
    /// first file has its prompt, else whether its text is new.
    pub(super) fn further(
        &mut self,
        line: i64,
        prompt: &Prompt,
        response: Scored<'_>,
    ) -> Result<Option<bool>> {
        let prompt_id = prompt_id(prompt);
        if !self.seen_prompts.contains(&number(&prompt_id)) {
            return Ok(None);
        }
        let (_, is_new) = self.response(line, &prompt_id, response)?;
        Ok(Some(is_new))
    }

    /// The id of a response, which is added if it is new.
    fn response(
        &mut self,
        line: i64,
        prompt_id: &str,
        (text, score): Scored<'_>,
    ) -> Result<(String, bool)> {
        let id = short_id(&[prompt_id, text]);
        let is_new = self.seen_responses.insert(number(&id));
        if is_new {
            let row = ResponseRow {
                id: id.clone(),
                prompt_id: prompt_id.to_owned(),
                line,
                text: text.to_owned(),
                score,
            };
            self.responses.push(row, &self.source)?;
        }
        Ok((id, is_new))
    }

    /// The number of rows of the file so far.
    pub(super) fn rows(&self) -> i64 {
        self.rows
    }

    /// Completes the parts.
    pub(super) fn finish(self) -> Result<Parts> {
        Ok(Parts([
            (schema::PROMPTS, self.prompts.finish(&self.source)?),
            (schema::RESPONSES, self.responses.finish(&self.source)?),
            (schema::PAIR_IDS, self.pairs.finish(&self.source)?),
        ]))
    }
}

impl Parts {
    /// Adds the parts to a manifest.
    pub(super) fn add_to(self, manifest: &mut Manifest) {
        for (table, part) in self.0 {
            manifest.add(table, part);
        }
    }
}

/// The id of a prompt: of its text alone, as `ingest` gives it to the prompts of a data set.
fn prompt_id(prompt: &Prompt) -> String {
    short_id(&[&prompt.key, ""])
}

/// A short id as a number: eight bytes a text are in memory.
fn number(short_id: &str) -> u64 {
    u64::from_str_radix(short_id, 16).unwrap_or_default()
}

/// The pairs, with the position of their row in the file.
fn pair_ids() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new(FILE_ROW, DataType::Int64, false),
        text("prompt_id"),
        text("chosen_id"),
        text("rejected_id"),
    ]))
}

/// A row of a table of the store.
trait Row: Sized {
    /// The column of this name; `None` for a column that these rows have no values of.
    fn column(rows: &[Self], name: &str) -> Option<ArrayRef>;
}

fn texts<'a, R>(rows: &'a [R], text: impl Fn(&'a R) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
}

fn integers<R>(rows: &[R], number: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(number)))
}

impl Row for PromptRow {
    fn column(rows: &[Self], name: &str) -> Option<ArrayRef> {
        Some(match name {
            "prompt_id" => texts(rows, |row| &row.id),
            "line" => integers(rows, |row| row.line),
            "prompt" => texts(rows, |row| &row.text),
            "title" | "body" => texts(rows, |_| ""),
            "split" => texts(rows, |row| &row.split),
            _ => return None,
        })
    }
}

impl Row for ResponseRow {
    fn column(rows: &[Self], name: &str) -> Option<ArrayRef> {
        Some(match name {
            "response_id" => texts(rows, |row| &row.id),
            "prompt_id" => texts(rows, |row| &row.prompt_id),
            "line" => integers(rows, |row| row.line),
            "text" => texts(rows, |row| &row.text),
            "score" => Arc::new(rows.iter().map(|row| row.score).collect::<Float64Array>()),
            "words" => integers(rows, |row| words(&row.text)),
            _ => return None,
        })
    }
}

impl Row for PairRow {
    fn column(rows: &[Self], name: &str) -> Option<ArrayRef> {
        Some(match name {
            FILE_ROW => integers(rows, |row| row.file_row),
            "prompt_id" => texts(rows, |row| &row.prompt_id),
            "chosen_id" => texts(rows, |row| &row.chosen_id),
            "rejected_id" => texts(rows, |row| &row.rejected_id),
            _ => return None,
        })
    }
}

/// Writer of one part of a table, a batch of rows at a time.
struct Table<R> {
    writer: PartWriter,
    schema: SchemaRef,
    waiting: Vec<R>,
}

impl<R: Row> Table<R> {
    /// A part with the columns of `schema`; those that the rows have no values of are NULL.
    fn create(store: &Store, table: &str, schema: &SchemaRef) -> Result<Self> {
        let fields = schema.fields().iter();
        let fields: Vec<Field> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            writer: store.part(table, "rows", Arc::clone(&schema))?,
            schema,
            waiting: Vec::with_capacity(ROWS_A_BATCH),
        })
    }

    fn push(&mut self, row: R, source: &str) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == ROWS_A_BATCH {
            self.flush(source)?;
        }
        Ok(())
    }

    fn flush(&mut self, source: &str) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let column = |field: &Arc<Field>| -> Result<ArrayRef> {
            let column = match field.name().as_str() {
                "source" => Some(texts(&rows, |_| source)),
                name => R::column(&rows, name),
            };
            let null = || new_null_array(field.data_type(), rows.len());
            let column = column.unwrap_or_else(null);
            Ok(cast(&column, field.data_type())?)
        };
        let columns = self.schema.fields().iter().map(column);
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.writer.write(&batch)
    }

    fn finish(mut self, source: &str) -> Result<Part> {
        self.flush(source)?;
        self.writer.finish()
    }
}
