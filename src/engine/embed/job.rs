//! How does a corpus get its vectors? Text by text that has none yet, in shards that are committed.

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::Embedder;
use crate::ingest::lines::hex;
use crate::progress::{Progress, Unit};
use crate::store::{Store, part};
use crate::udf::embed::embed_column;
use crate::{Result, schema, session, sql};

/// At most this many texts are lost when a run is killed.
const TEXTS_A_SHARD: usize = 8192;

/// The name under which a step's SQL finds the vectors of the model at hand.
pub const VECTORS: &str = "vectors";

/// The table of a model's vectors.
pub fn table_of(embedder: Embedder) -> String {
    let name: String = embedder
        .name()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("{}{name}", schema::EMBEDDINGS)
}

/// A session in which `vectors` is the table of this model's vectors.
///
/// # Errors
/// As [`session::with_store`].
pub fn session(store: &Store, embedder: Embedder) -> Result<datafusion::prelude::SessionContext> {
    let context = session::with_store(store, &session::Limits::pipeline())?;
    let schema = schema::embeddings(embedder.dimension() as i32);
    session::register_as(&context, store, &table_of(embedder), VECTORS, Some(schema))?;
    Ok(context)
}

/// Embeds every text of `weighed` that has no vector of this model and revision yet; how many.
///
/// # Errors
/// When the SQL fails or the disk is full; finished shards stay.
pub async fn run(
    store: &mut Store,
    embedder: Embedder,
    scripts: &sql::Scripts,
    progress: &dyn Progress,
) -> Result<u64> {
    let context = session(store, embedder)?;
    let script = scripts.script("35_texts.sql")?;
    let frame = script.frame(&context, &options(embedder)).await?;
    let total = store.manifest().rows(schema::WEIGHED);
    progress.begin(
        &format!("embedding with {}", embedder.name()),
        Some(total),
        Unit::Rows,
    );
    let mut stream = frame.execute_stream().await?;
    let mut done = 0;
    let mut shard: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        let mut batch = part::plain(&batch)?;
        let mut held: usize = shard.iter().map(RecordBatch::num_rows).sum();
        while held + batch.num_rows() >= TEXTS_A_SHARD {
            let missing = TEXTS_A_SHARD - held;
            shard.push(batch.slice(0, missing));
            batch = batch.slice(missing, batch.num_rows() - missing);
            commit(
                store,
                embedder,
                &std::mem::take(&mut shard),
                progress,
                &mut done,
            )?;
            held = 0;
        }
        if batch.num_rows() > 0 {
            shard.push(batch);
        }
    }
    if !shard.is_empty() {
        commit(store, embedder, &shard, progress, &mut done)?;
    }
    progress.end();
    Ok(done)
}

/// The values for `$model` and `$revision`.
pub fn options(embedder: Embedder) -> sql::Options {
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
    embedder: Embedder,
    shard: &[RecordBatch],
    progress: &dyn Progress,
    done: &mut u64,
) -> Result<()> {
    let schema = schema::embeddings(embedder.dimension() as i32);
    let mut hasher = Sha256::new();
    for batch in shard {
        for hash in batch.column(0).as_string::<i32>().iter().flatten() {
            hasher.update(hash);
        }
    }
    let table = table_of(embedder);
    let name = format!(
        "r{}-{}",
        embedder.revision(),
        &hex(&hasher.finalize())[..16]
    );
    let mut writer = store.part(&table, &name, Arc::clone(&schema))?;
    for batch in shard {
        let constant = |value: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                value,
                batch.num_rows(),
            )))
        };
        let columns = vec![
            Arc::clone(batch.column(0)),
            constant(embedder.name()),
            constant(embedder.revision()),
            embed_column(batch.column(1), embedder)?,
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        *done += batch.num_rows() as u64;
        progress.at(*done);
    }
    let mut manifest = store.manifest().clone();
    manifest.add(&table, writer.finish()?);
    store.commit(manifest)
}
