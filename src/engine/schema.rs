//! Which columns has every table? The contract of the whole project.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// A prompt: what writers answered.
pub const PROMPTS: &str = "prompts";
/// A response: one story to one prompt.
pub const RESPONSES: &str = "responses";
/// Rows that were refused, with the reason.
pub const REFUSED: &str = "refused";
/// Whole responses whose prompt is not in the store; they come in when it does.
pub const PENDING: &str = "pending";
/// The view of all that is refused or pending, with reasons: what users query.
pub const QUARANTINE: &str = "quarantine";
/// Vectors of texts, a row a text: one table a model, whose name goes on with the model's.
pub const EMBEDDINGS: &str = "embeddings_";

/// Responses that may stand in pairs.
pub const CANDIDATES: &str = "candidates";
/// Who is preferred to whom, by id.
pub const MATCHED: &str = "matched";
/// The responses whose deviation counts.
pub const WEIGHED: &str = "weighed";
/// How far every response that is weighed stands from the others to its prompt.
pub const DEVIATIONS: &str = "deviations";
/// The weights of the responses.
pub const WEIGHTS: &str = "weights";
/// The preference pairs, weighted.
pub const PAIRS: &str = "pairs";

/// Every table that a store may hold, those of vectors aside.
pub const TABLES: [&str; 10] = [
    PROMPTS, RESPONSES, REFUSED, PENDING, CANDIDATES, MATCHED, WEIGHED, DEVIATIONS, WEIGHTS, PAIRS,
];

/// The tables that `ingest` fills, with their schemas.
pub fn ingested() -> [(&'static str, SchemaRef); 4] {
    [
        (PROMPTS, prompts()),
        (RESPONSES, responses()),
        (REFUSED, refused()),
        (PENDING, responses()),
    ]
}

/// One row a prompt. `prompt` is the text that models see: title and body without the leading tag.
/// `line` is the row's line in its `source`.
pub fn prompts() -> SchemaRef {
    schema(vec![
        text("prompt_id"),
        text("source"),
        integer("line"),
        optional("tag", DataType::Utf8),
        text("title"),
        text("body"),
        text("prompt"),
        optional("score", DataType::Int64),
        optional("created_at", timestamp()),
        optional("retrieved_at", timestamp()),
        text("split"),
    ])
}

/// One row a story, with its votes. `line` is the row's line in its `source`.
pub fn responses() -> SchemaRef {
    schema(vec![
        text("response_id"),
        text("prompt_id"),
        text("source"),
        integer("line"),
        text("text"),
        integer("score"),
        optional("created_at", timestamp()),
        optional("retrieved_at", timestamp()),
        optional("author_hash", DataType::Utf8),
        integer("words"),
    ])
}

/// One row a refused line: where it stood, why it was refused, and the start of its text.
/// `id` and `retrieved_at` are there when the line had them.
pub fn refused() -> SchemaRef {
    schema(vec![
        text("source"),
        integer("line"),
        text("reason"),
        optional("id", DataType::Utf8),
        optional("retrieved_at", timestamp()),
        text("text"),
    ])
}

/// One row a text and model. `text_hash` is the SHA-256 of the text, hex.
pub fn embeddings(dimension: i32) -> SchemaRef {
    schema(vec![
        text("text_hash"),
        text("model"),
        text("revision"),
        Field::new("vector", vector(dimension), false),
    ])
}

/// One row a response that is weighed. A deviation is NULL in a space that was not measured.
pub fn weights() -> SchemaRef {
    schema(vec![
        text("prompt_id"),
        text("response_id"),
        optional("deviation_semantic", DataType::Float64),
        optional("deviation_style", DataType::Float64),
        Field::new("weight", DataType::Float64, false),
    ])
}

/// One row a response and space.
pub fn deviations() -> SchemaRef {
    schema(vec![
        text("space"),
        text("prompt_id"),
        text("response_id"),
        Field::new("deviation", DataType::Float64, false),
    ])
}

/// One row a preference, in the shape that `datasets` and TRL's `DPOTrainer` take.
pub fn pairs() -> SchemaRef {
    schema(vec![
        text("pair_id"),
        text("prompt_id"),
        Field::new("prompt", messages(), false),
        Field::new("chosen", messages(), false),
        Field::new("rejected", messages(), false),
        integer("score_chosen"),
        integer("score_rejected"),
        optional("deviation_semantic", DataType::Float64),
        optional("deviation_style", DataType::Float64),
        Field::new("weight", DataType::Float64, false),
        text("chosen_id"),
        text("rejected_id"),
        text("split"),
    ])
}

/// A point in time, in milliseconds of UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// A vector of `dimension` single-precision values.
pub fn vector(dimension: i32) -> DataType {
    DataType::FixedSizeList(
        Arc::new(Field::new("item", DataType::Float32, false)),
        dimension,
    )
}

/// A chat: a list of `{role, content}`.
fn messages() -> DataType {
    let message = Fields::from(vec![
        optional("role", DataType::Utf8),
        optional("content", DataType::Utf8),
    ]);
    DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(message),
        true,
    )))
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}
