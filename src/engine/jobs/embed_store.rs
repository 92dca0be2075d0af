//! Embedding job over a store: the distinct texts without a vector, committed shard by shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use futures::stream::Fuse;
use futures::{StreamExt, TryStreamExt};

use crate::embed::Embedder;
use crate::embed::token_counts::TokenCounts;
use crate::functions::embed::column;
use crate::store::{Store, part};
use crate::{Error, Result, schema, session, sql};
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::progress::{Progress, Unit};
use polyphony_model::encoder::text_tokenizer::{LongTexts, TextTokens};
use tracing::info_span;

/// The SQL name of the table of the current model's vectors.
pub const VECTORS: &str = "vectors";

/// The texts of a store to embed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All responses.
    Store,
    /// The responses that passed the filters, in the table `eligible`.
    Eligible,
    /// The responses in the table `scored_responses`.
    ScoredResponses,
}

/// The options of an embedding job over a store.
#[derive(Debug, Clone, Copy)]
pub struct EmbedOptions {
    /// The texts to embed.
    pub scope: Scope,
    /// The shard size: the number of texts per commit.
    pub shard_size: usize,
}

/// The name of a model's table of vectors. It contains the revision for trained models, because models
/// of one name may differ in dimension. Means of windows have a table of their own.
pub fn table_of(embedder: &Embedder) -> String {
    let mut name = embedder.name().to_owned();
    if let Embedder::Transformer(..) = embedder {
        name.extend(['_'].into_iter().chain(embedder.revision().chars().take(8)));
    }
    if embedder.long_texts() == Some(LongTexts::Mean) {
        name = format!("{name}_{}", LongTexts::Mean.name());
    }
    let plain = |c: char| match c {
        _ if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '_',
    };
    let name: String = name.chars().map(plain).collect();
    format!("{}{name}", schema::EMBEDDINGS)
}

/// A session in which the table `vectors` has this model's vectors.
///
/// # Errors
/// As [`session::with_store`].
pub fn session(store: &Store, embedder: &Embedder) -> Result<SessionContext> {
    let context = session::with_store(store, &session::MemoryLimit::pipeline())?;
    let schema = schema::embeddings(embedder.dimension() as i32);
    session::register_as(&context, store, &table_of(embedder), VECTORS, Some(schema))?;
    Ok(context)
}

/// Registers the vectors of this model and revision, columns `text_hash` and `vector`, under a name.
///
/// # Errors
/// As [`session::with_store`].
pub async fn register_vectors(
    context: &SessionContext,
    store: &Store,
    embedder: &Embedder,
    name: &str,
) -> Result<()> {
    let table = format!("all_{name}");
    let schema = schema::embeddings(embedder.dimension() as i32);
    session::register_as(context, store, &table_of(embedder), &table, Some(schema))?;
    let of_embedder =
        (col("model").eq(lit(embedder.name()))).and(col("revision").eq(lit(embedder.revision())));
    let view = context
        .table(table.as_str())
        .await?
        .filter(of_embedder)?
        .select_columns(&["text_hash", "vector"])?
        .into_view();
    context.register_table(name, view)?;
    Ok(())
}

/// Embeds the texts of the scope that have no vector of this model and revision yet; returns their
/// number.
///
/// # Errors
/// When the SQL or the model fails, or the disk is full; finished shards are not lost.
pub async fn run(
    store: &mut Store,
    embedder: &Embedder,
    pipeline: &sql::SqlPipeline,
    options: &EmbedOptions,
    progress: &dyn Progress,
) -> Result<u64> {
    let context = session(store, embedder)?;
    let script = match options.scope {
        Scope::Store => Some("30_scored_responses_of_store.sql"),
        Scope::Eligible => Some("30_scored_responses_eligible.sql"),
        Scope::ScoredResponses => None,
    };
    if let Some(script) = script {
        let all = pipeline.script(script)?;
        let all = all.frame(&context, &sql::Options::new()).await?;
        context.deregister_table(schema::SCORED_RESPONSES)?;
        context.register_table(schema::SCORED_RESPONSES, all.into_view())?;
    }
    let frame = pipeline
        .script("35_texts.sql")?
        .frame(&context, &sql_values(embedder))
        .await?;
    let total = frame.clone().count().await? as u64;
    let meter = Throughput::begin(embedder, total, progress);
    let mut shards = Rebatcher::new(frame.execute_stream().await?, options.shard_size);
    while let Some(shard) = shards.next().await? {
        let _span = info_span!("embed_shard", rows = shard.num_rows()).entered();
        commit(store, embedder, &shard, &meter)?;
    }
    meter.end();
    Ok(total)
}

/// The rows of `71_card_long_texts.sql`: how long the texts of the table `scored_responses` are for a model that
/// has embedded them.
///
/// # Errors
/// When the SQL fails.
pub(crate) async fn length_rows(
    context: &SessionContext,
    embedder: &Embedder,
    pipeline: &sql::SqlPipeline,
    space: &str,
) -> Result<Vec<RecordBatch>> {
    let mut values = sql_values(embedder);
    values.insert("space".to_owned(), ScalarValue::from(space));
    pipeline
        .query(context, "71_card_long_texts.sql", &values)
        .await
}

/// The tokens of all texts that a model has embedded; none for a built-in embedder.
///
/// # Errors
/// When the SQL fails.
pub async fn token_counts(
    store: &Store,
    embedder: &Embedder,
    pipeline: &sql::SqlPipeline,
) -> Result<TokenCounts> {
    if embedder.max_tokens().is_none() {
        return Ok(TokenCounts::default());
    }
    let context = session(store, embedder)?;
    let all = context
        .table(VECTORS)
        .await?
        .select_columns(&["text_hash"])?;
    context.deregister_table(schema::SCORED_RESPONSES)?;
    context.register_table(schema::SCORED_RESPONSES, all.into_view())?;
    counts_of(&length_rows(&context, embedder, pipeline, "").await?)
}

/// The counts in the rows of `71_card_long_texts.sql`.
///
/// # Errors
/// When the rows have other columns.
pub(crate) fn counts_of(rows: &[RecordBatch]) -> Result<TokenCounts> {
    let mut counts = TokenCounts::default();
    for batch in rows {
        let batch = part::plain(batch)?;
        let name = batch.column_by_name("name");
        let name = name.and_then(|column| column.as_string_opt::<i32>());
        let value = batch.column_by_name("value");
        let value = value.and_then(|column| column.as_primitive_opt::<Float64Type>());
        let (Some(name), Some(value)) = (name, value) else {
            let hint = "its columns are name, section and label (text) and value (DOUBLE)";
            return Err(Error::input(
                "71_card_long_texts.sql",
                "gives other columns",
                hint,
            ));
        };
        let named = name.iter().zip(value);
        let named = named.filter_map(|(name, value)| Some((name?, value? as u64)));
        counts = counts.plus(TokenCounts::from_names(named));
    }
    Ok(counts)
}

/// The values of the SQL placeholders `$model` and `$revision`.
pub fn sql_values(embedder: &Embedder) -> sql::Options {
    sql::Options::from([
        ("model".to_owned(), ScalarValue::from(embedder.name())),
        (
            "revision".to_owned(),
            ScalarValue::from(embedder.revision()),
        ),
    ])
}

fn commit(
    store: &mut Store,
    embedder: &Embedder,
    shard: &RecordBatch,
    meter: &Throughput<'_>,
) -> Result<()> {
    let schema = schema::embeddings(embedder.dimension() as i32);
    let mut hasher = Sha256::new();
    for hash in shard.column(0).as_string::<i32>().iter().flatten() {
        hasher.update(hash);
    }
    let table = table_of(embedder);
    let name = format!(
        "r{}-{}",
        embedder.revision(),
        &hex(&hasher.finalize())[..16]
    );
    let constant = |value: &str| -> ArrayRef {
        let values = std::iter::repeat_n(value, shard.num_rows());
        Arc::new(StringArray::from_iter_values(values))
    };
    let (vectors, tokens) = embed_column(shard.column(1), embedder, meter)?;
    let counts = |count: fn(&TextTokens) -> usize| -> ArrayRef {
        let rows = (0..shard.num_rows()).map(|row| Some(count(tokens.get(row)?) as i64));
        Arc::new(rows.collect::<Int64Array>())
    };
    let columns = vec![
        Arc::clone(shard.column(0)),
        constant(embedder.name()),
        constant(embedder.revision()),
        vectors,
        counts(|text| text.tokens),
        counts(|text| text.seen),
        counts(|text| text.windows),
    ];
    let mut writer = store.part(&table, &name, Arc::clone(&schema))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    let mut manifest = store.manifest().clone();
    manifest.add(&table, writer.finish()?);
    store.commit(manifest)
}

/// The vectors of a column of texts, NULL for NULL, and the tokens of the texts that are not NULL.
///
/// # Errors
/// When the model fails.
pub fn embed_column(
    texts: &ArrayRef,
    embedder: &Embedder,
    meter: &Throughput<'_>,
) -> Result<(ArrayRef, Vec<TextTokens>)> {
    let texts = texts.as_string::<i32>();
    let present: Vec<&str> = texts.iter().flatten().collect();
    let embedded = embedder.embed(&present, &|texts, tokens| meter.on_batch(texts, tokens))?;
    let vectors = column(&embedded.vectors, embedder.dimension(), texts)?;
    Ok((vectors, embedded.texts))
}

/// Rebatcher: a stream of batches of any size as shards of a fixed number of rows.
pub struct Rebatcher {
    stream: Fuse<SendableRecordBatchStream>,
    rows: usize,
    buffered: Vec<RecordBatch>,
}

impl Rebatcher {
    /// Shards of `rows` rows; the last may be shorter.
    pub fn new(stream: SendableRecordBatchStream, rows: usize) -> Self {
        Self {
            stream: stream.fuse(),
            rows,
            buffered: Vec::new(),
        }
    }

    /// The next shard; `None` after the last.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut buffered: usize = self.buffered.iter().map(RecordBatch::num_rows).sum();
        while buffered < self.rows
            && let Some(batch) = self.stream.try_next().await?
        {
            buffered += batch.num_rows();
            self.buffered.push(part::plain(&batch)?);
        }
        let Some(first) = self.buffered.first() else {
            return Ok(None);
        };
        let all = concat_batches(first.schema_ref(), &self.buffered)?;
        let rows = self.rows.min(all.num_rows());
        let rest = all.slice(rows, all.num_rows() - rows);
        self.buffered = Some(rest)
            .filter(|rest| rest.num_rows() > 0)
            .into_iter()
            .collect();
        Ok(Some(all.slice(0, rows)).filter(|shard| shard.num_rows() > 0))
    }
}

/// Throughput meter: counts embedded texts and tokens, and reports the rate.
pub struct Throughput<'a> {
    embedder: &'a Embedder,
    progress: &'a dyn Progress,
    start: Instant,
    texts: AtomicU64,
    tokens: AtomicUsize,
}

impl<'a> Throughput<'a> {
    /// Starts counting towards `total` texts, and shows the model's license notice.
    pub fn begin(embedder: &'a Embedder, total: u64, progress: &'a dyn Progress) -> Self {
        if let Some(license_notice) = embedder.license_notice()
            && total > 0
        {
            progress.message(license_notice);
        }
        let what = format!("embedding with {}", embedder.name());
        progress.start(&what, Some(total), Unit::Rows);
        Self {
            embedder,
            progress,
            start: Instant::now(),
            texts: AtomicU64::new(0),
            tokens: AtomicUsize::new(0),
        }
    }

    /// Counts a finished batch.
    fn on_batch(&self, texts: usize, tokens: usize) {
        let texts = self.texts.fetch_add(texts as u64, Ordering::Relaxed) + texts as u64;
        let tokens = self.tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
        self.progress.set_position(texts);
        if tokens > 0 {
            self.progress
                .set_rate(&format!("{} tokens/s", self.rate(tokens)));
        }
    }

    fn rate(&self, tokens: usize) -> u64 {
        (tokens as f64 / self.start.elapsed().as_secs_f64()) as u64
    }

    /// Reports the totals. Built-in embedders count no tokens, so theirs are not reported.
    pub fn end(&self) {
        self.progress.finish();
        let (texts, tokens) = (
            self.texts.load(Ordering::Relaxed),
            self.tokens.load(Ordering::Relaxed),
        );
        if tokens == 0 {
            return;
        }
        self.progress.message(&format!(
            "embedded {texts} texts with {}: {tokens} tokens, {} tokens/s",
            self.embedder.name(),
            self.rate(tokens)
        ));
        if let Some(budget) = self.embedder.reduced_budget() {
            self.progress.message(&format!(
                "out of memory: the batch size was reduced to {budget} tokens"
            ));
        }
    }
}
