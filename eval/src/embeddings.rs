//! Embeddings of the outputs: computed once, stored next to the report, reused while nothing changes.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Float32Type;
use polyphony_engine::embed::Embedder;
use polyphony_engine::jobs::embed_file::{EMBEDDING, Texts, embed_file};
use polyphony_engine::store::PartWriter;
use polyphony_engine::{Result, deviation};
use polyphony_io::progress::Progress;
use polyphony_io::records;
use polyphony_model::kernel::vector;

/// The file of the texts that were judged.
const OUTPUTS: &str = "outputs.parquet";

/// Writes the texts that are judged, `out/outputs.parquet`.
///
/// # Errors
/// When the disk is full.
pub fn write_texts(batch: &RecordBatch, out: &Path) -> Result<()> {
    let mut writer = PartWriter::create(out, OUTPUTS.trim_end_matches(".parquet"), batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(())
}

/// The vectors of the batch's `response`s, in its order, which [`write_texts`] wrote; they stay in
/// `out/NAME.parquet` with the texts. A killed run goes on where it stopped.
///
/// # Errors
/// When the model fails or the disk is full.
pub async fn embed(
    batch: &RecordBatch,
    embedder: &Embedder,
    out: &Path,
    name: &str,
    progress: &dyn Progress,
) -> Result<FixedSizeListArray> {
    let path = out.join(format!("{name}.parquet"));
    if let Some(vectors) = stored_vectors(&path, batch, embedder) {
        return Ok(vectors);
    }
    let texts = Texts {
        file: &out.join(OUTPUTS),
        column: "response",
        shard_size: embedder.default_shard_size(),
    };
    embed_file(&texts, embedder, &path, progress).await?;
    let made = read(&path)?;
    Ok(made[EMBEDDING].as_fixed_size_list().clone())
}

/// Vectors of an earlier run, where they are of these texts and this model.
fn stored_vectors(
    path: &Path,
    batch: &RecordBatch,
    embedder: &Embedder,
) -> Option<FixedSizeListArray> {
    fs::metadata(path).ok()?;
    let kept = read(path).ok()?;
    let schema = kept.schema();
    let same_model = *schema.field_with_name(EMBEDDING).ok()?.metadata() == embedder.metadata();
    let texts = kept.columns().iter().zip(batch.columns());
    let same_texts = kept.num_columns() == batch.num_columns() + 1
        && texts.clone().all(|(kept, given)| kept == given);
    let vectors = kept.column_by_name(EMBEDDING)?.as_fixed_size_list_opt()?;
    (same_model && same_texts).then(|| vectors.clone())
}

fn read(path: &Path) -> Result<RecordBatch> {
    let builder = records::parquet(path)?;
    let schema = Arc::clone(builder.schema());
    let batches = builder
        .build()?
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// The vector of a row; none where it is NULL.
pub(crate) fn row(vectors: &FixedSizeListArray, row: usize) -> Option<Float32Array> {
    vectors
        .is_valid(row)
        .then(|| vectors.value(row).as_primitive::<Float32Type>().clone())
}

/// The deviation of each text of a group from the others; none for one alone.
pub fn deviations(vectors: &FixedSizeListArray, rows: Range<usize>) -> Vec<Option<f64>> {
    let n = rows.len();
    let rows: Option<Vec<_>> = rows.map(|at| row(vectors, at)).collect();
    match rows {
        Some(rows) if n > 1 => {
            let slices: Vec<&[f32]> = rows.iter().map(|row| &**row.values()).collect();
            deviation::deviations_of(&slices)
                .into_iter()
                .map(Some)
                .collect()
        }
        _ => vec![None; n],
    }
}

/// The sum of a group's vectors, each scaled to length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitVectorSum {
    /// The sum of those that are not zero.
    pub sum: Vec<f64>,
    /// How many are zero: they are alike, and unlike all others.
    pub zeros: usize,
}

/// Sums a group's vectors up.
pub fn sum(vectors: &FixedSizeListArray, rows: Range<usize>) -> UnitVectorSum {
    let mut sum = vec![0.0; vectors.value_length() as usize];
    let mut zeros = 0;
    for values in rows.filter_map(|at| row(vectors, at)) {
        let length = vector::norm(values.values());
        if length > 0.0 {
            for (total, value) in sum.iter_mut().zip(values.values()) {
                *total += f64::from(*value) / length;
            }
        } else {
            zeros += 1;
        }
    }
    UnitVectorSum { sum, zeros }
}
