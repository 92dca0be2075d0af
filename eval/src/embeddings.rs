//! Embeddings of the outputs: computed once, stored next to the report, reused while texts and model are the
//! same.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Float32Type;
use polyphony_engine::embed::Embedder;
use polyphony_engine::embed::token_counts::TokenCounts;
use polyphony_engine::jobs::embed_file::{EMBEDDING, FileColumn, Manifest, embed_file};
use polyphony_engine::store::PartWriter;
use polyphony_engine::{Result, deviation};
use polyphony_io::progress::Progress;
use polyphony_io::records;
use polyphony_model::kernel::vector;

/// The file of the evaluated texts.
const OUTPUTS: &str = "outputs.parquet";

/// Writes the evaluated texts to `out/outputs.parquet`.
///
/// # Errors
/// When the disk is full.
pub fn write_texts(batch: &RecordBatch, out: &Path) -> Result<()> {
    let mut writer = PartWriter::create(out, OUTPUTS.trim_end_matches(".parquet"), batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(())
}

/// The embeddings of the batch's `response` column, in row order, and the tokens of its texts. Reads the texts that
/// [`write_texts`] wrote; stores texts and embeddings in `out/NAME.parquet`. An interrupted run resumes where it
/// stopped.
///
/// # Errors
/// When the model fails or the disk is full.
pub async fn embed(
    batch: &RecordBatch,
    embedder: &Embedder,
    out: &Path,
    name: &str,
    progress: &dyn Progress,
) -> Result<(FixedSizeListArray, TokenCounts)> {
    let path = out.join(format!("{name}.parquet"));
    if path.is_file() {
        match Manifest::of_output(&path)? {
            Some(manifest) => {
                if let Some(vectors) = stored_vectors(&path, batch, embedder) {
                    return Ok((vectors, manifest.tokens));
                }
            }
            None => progress.message(&format!(
                "{}: is damaged, or an earlier version wrote it without a manifest; the texts are embedded again",
                path.display()
            )),
        }
    }
    let texts = FileColumn {
        file: &out.join(OUTPUTS),
        column: "response",
        shard_size: embedder.default_shard_size(),
    };
    let manifest = embed_file(&texts, embedder, &path, progress).await?;
    let table = read(&path)?;
    let vectors = table[EMBEDDING].as_fixed_size_list().clone();
    Ok((vectors, manifest.tokens))
}

/// The embeddings of an earlier run, if they are of the same texts and model.
fn stored_vectors(
    path: &Path,
    batch: &RecordBatch,
    embedder: &Embedder,
) -> Option<FixedSizeListArray> {
    let stored = read(path).ok()?;
    let schema = stored.schema();
    let same_model = *schema.field_with_name(EMBEDDING).ok()?.metadata() == embedder.metadata();
    let texts = stored.columns().iter().zip(batch.columns());
    let same_texts = stored.num_columns() == batch.num_columns() + 1
        && texts.clone().all(|(stored, expected)| stored == expected);
    let vectors = stored.column_by_name(EMBEDDING)?.as_fixed_size_list_opt()?;
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

/// The embedding of a row; `None` where it is NULL.
pub(crate) fn row(vectors: &FixedSizeListArray, row: usize) -> Option<Float32Array> {
    vectors
        .is_valid(row)
        .then(|| vectors.value(row).as_primitive::<Float32Type>().clone())
}

/// The deviation of each text of a group: its mean distance to the others. `None` for a single text, or where
/// an embedding is missing.
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
    /// The sum over the non-zero vectors.
    pub sum: Vec<f64>,
    /// The number of zero vectors: cosine 1 with each other, 0 with all others.
    pub zeros: usize,
}

impl UnitVectorSum {
    /// The sum of the vectors of both sums.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (total, value) in self.sum.iter_mut().zip(&other.sum) {
            *total += value;
        }
        self.zeros += other.zeros;
        self
    }
}

/// Sums the unit vectors of a group of rows.
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
