//! Schemas: the columns of every table of a store.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// The table of prompts.
pub const PROMPTS: &str = "prompts";
/// The table of responses: stories, each to one prompt.
pub const RESPONSES: &str = "responses";
/// The table of quarantined rows with their reasons.
pub const QUARANTINED: &str = "quarantined";
/// The table of responses whose prompt is not in the store; they move to `responses` when it is
/// ingested.
pub const PENDING: &str = "pending";
/// The view of all quarantined and pending rows with their reasons.
pub const QUARANTINE: &str = "quarantine";
/// The view of prompts, each with the ids of all its posts.
pub const PROMPT_POSTS: &str = "prompt_posts";
/// The table of near-duplicate prompts.
pub const NEAR_DUPLICATES: &str = "near_duplicates";
/// The table of prompts that `pairs --eval-prompts` keeps out of pairs.
pub const EVAL_PROMPTS: &str = "eval_prompts";
/// The name prefix of the tables of vectors: one table per model, one row per text.
pub const EMBEDDINGS: &str = "embeddings_";

/// The table of responses that can be in pairs, and why the others are excluded.
pub const CANDIDATES: &str = "candidates";
/// The table of responses that passed the filters, before `--select dpp` takes some of them.
pub const ELIGIBLE: &str = "eligible";
/// The table of pairs as ids: the chosen and the rejected response of each pair.
pub const PAIR_IDS: &str = "pair_ids";
/// The table of responses whose deviation is computed.
pub const SCORED_RESPONSES: &str = "scored_responses";
/// The table of deviations: the mean distance of a response to the other responses of its prompt, a row
/// per space.
pub const DEVIATIONS: &str = "deviations";
/// The table of `DivPO`'s pools: the best and the worst responses of a prompt.
pub const POOLS: &str = "pools";
/// The table of deviations within the pools of `DivPO`, a row per response and space.
pub const POOL_DEVIATIONS: &str = "pool_deviations";
/// The table of marginal diversities: the distance of a response to its most similar neighbour.
pub const MARGINAL_DIVERSITIES: &str = "marginal_diversities";
/// The table of the responses' weights.
pub const WEIGHTS: &str = "weights";
/// The table of weighted preference pairs.
pub const PAIRS: &str = "pairs";
/// The table of examples of supervised fine-tuning: all candidates.
pub const SFT: &str = "sft";

/// All tables that a store can contain, except the tables of vectors.
pub const TABLES: [&str; 17] = [
    PROMPTS,
    RESPONSES,
    QUARANTINED,
    PENDING,
    NEAR_DUPLICATES,
    EVAL_PROMPTS,
    ELIGIBLE,
    CANDIDATES,
    PAIR_IDS,
    SCORED_RESPONSES,
    DEVIATIONS,
    POOLS,
    POOL_DEVIATIONS,
    MARGINAL_DIVERSITIES,
    WEIGHTS,
    PAIRS,
    SFT,
];

/// The tables that `ingest` fills, with their schemas.
pub fn ingested() -> [(&'static str, SchemaRef); 4] {
    [
        (PROMPTS, prompts()),
        (RESPONSES, responses()),
        (QUARANTINED, quarantined()),
        (PENDING, responses()),
    ]
}

/// One row per post of a prompt. `prompt` is the text that models see: title and body without the leading
/// tag. `prompt_key` is a hash of its normalized text: posts with the same key are reposts of one prompt,
/// whose responses `pairs` compares with each other, and they have the same split. `line` is the row's
/// line in its `source`.
pub fn prompts() -> SchemaRef {
    schema(vec![
        text("prompt_id"),
        text("source"),
        integer("line"),
        optional("tag", DataType::Utf8),
        text("title"),
        text("body"),
        text("prompt"),
        text("prompt_key"),
        optional("score", DataType::Float64),
        optional("created_at", timestamp()),
        optional("retrieved_at", timestamp()),
        text("split"),
    ])
}

/// One row per story, with its votes. `line` is the row's line in its `source`. `footer` is what was cut from
/// the end of the story; NULL if nothing was.
pub fn responses() -> SchemaRef {
    schema(vec![
        text("response_id"),
        text("prompt_id"),
        text("source"),
        integer("line"),
        text("text"),
        number("score"),
        optional("created_at", timestamp()),
        optional("retrieved_at", timestamp()),
        optional("author_hash", DataType::Utf8),
        integer("words"),
        optional("footer", DataType::Utf8),
    ])
}

/// One row per quarantined line: its source and line, the reason, and the start of its text. `id` and
/// `retrieved_at` are NULL if the line has none.
pub fn quarantined() -> SchemaRef {
    schema(vec![
        text("source"),
        integer("line"),
        text("reason"),
        optional("id", DataType::Utf8),
        optional("retrieved_at", timestamp()),
        text("text"),
    ])
}

/// One row per pair of near-duplicate prompts: the least ids of their posts, `prompt_id` before
/// `other_prompt_id`, and the Jaccard similarity of the word pairs of their texts, in [0.8, 1].
pub fn near_duplicates() -> SchemaRef {
    schema(vec![
        text("prompt_id"),
        text("other_prompt_id"),
        Field::new("jaccard", DataType::Float64, false),
    ])
}

/// One row per prompt that is in the file of `pairs --eval-prompts`, or a near-duplicate of one in it.
pub fn eval_prompts() -> SchemaRef {
    schema(vec![text("prompt_key")])
}

/// One row per text. `text_hash` is the SHA-256 of the text, hex. `tokens` is its number of tokens, without special
/// tokens and the model's prompt, `tokens_seen` how many of them the model has seen, `windows` in how many windows;
/// NULL for built-in embedders, which have no tokens, and in stores of older versions.
pub fn embeddings(dimension: i32) -> SchemaRef {
    schema(vec![
        text("text_hash"),
        text("model"),
        text("revision"),
        Field::new("vector", vector(dimension), false),
        optional("tokens", DataType::Int64),
        optional("tokens_seen", DataType::Int64),
        optional("windows", DataType::Int64),
    ])
}

/// One row per scored response. A deviation is NULL in a space that was not computed.
pub fn weights() -> SchemaRef {
    schema(vec![
        text("prompt_id"),
        text("response_id"),
        optional("deviation_semantic", DataType::Float64),
        optional("deviation_style", DataType::Float64),
        Field::new("weight", DataType::Float64, false),
    ])
}

/// One row per response and space.
pub fn deviations() -> SchemaRef {
    schema(vec![
        text("space"),
        text("prompt_id"),
        text("response_id"),
        Field::new("deviation", DataType::Float64, false),
    ])
}

/// One row per pair, in the preference format of `datasets` and of TRL's `DPOTrainer`.
pub fn pairs() -> SchemaRef {
    schema(vec![
        text("pair_id"),
        text("prompt_id"),
        Field::new("prompt", messages(), false),
        Field::new("chosen", messages(), false),
        Field::new("rejected", messages(), false),
        number("score_chosen"),
        number("score_rejected"),
        optional("deviation_semantic", DataType::Float64),
        optional("deviation_style", DataType::Float64),
        Field::new("weight", DataType::Float64, false),
        text("chosen_id"),
        text("rejected_id"),
        text("split"),
    ])
}

/// One row per candidate, in the conversational prompt-completion format of TRL's `SFTTrainer`.
pub fn sft() -> SchemaRef {
    schema(vec![
        text("response_id"),
        text("prompt_id"),
        Field::new("prompt", messages(), false),
        Field::new("completion", messages(), false),
        number("score"),
        text("split"),
    ])
}

/// A timestamp in milliseconds of UTC.
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

/// A chat in the conversational format: a list of `{role, content}`.
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

fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}
