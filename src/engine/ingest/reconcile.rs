//! Reconciliation: after ingest, duplicates are quarantined and pending responses get their prompts.
//!
//! `sql/05_reconciliation.sql` decides which rows move; this file rewrites the parts. Parts without a
//! moving row are not changed, and all changes are one commit.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::reason::Reason;
use super::table_builders::{QuarantinedRow, TableBuilders};
use crate::store::{Manifest, Part, PartWriter, StepEntry, Store};
use crate::{Error, Result, schema, session, sql};
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::progress::Progress;
use polyphony_io::records;

/// The number of rows with story texts in memory at a time.
const BATCH: usize = 1024;

/// The destination table of rows, by source, line and id.
type Moves = HashMap<String, HashMap<(i64, String), Destination>>;

/// The destination table of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    Quarantined,
    Pending,
    Responses,
}

impl Destination {
    const fn table(self) -> &'static str {
        match self {
            Self::Quarantined => schema::QUARANTINED,
            Self::Pending => schema::PENDING,
            Self::Responses => schema::RESPONSES,
        }
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Quarantined => schema::quarantined(),
            Self::Pending | Self::Responses => schema::responses(),
        }
    }
}

/// The name of this step in the manifest.
pub const STEP: &str = "reconciliation";

/// The fingerprint of the SQL: when it changes, the store is reconciled again.
///
/// # Errors
/// When the SQL file cannot be read.
pub fn fingerprint(pipeline: &sql::SqlPipeline) -> Result<StepEntry> {
    let script = pipeline.script("05_reconciliation.sql")?;
    Ok(StepEntry {
        by: script.name,
        fingerprint: hex(&Sha256::digest(&script.text)),
        options: BTreeMap::new(),
    })
}

/// Reconciles the store: afterwards every id is unique, and every response has its prompt. Returns the
/// new manifest without committing it.
///
/// # Errors
/// When the SQL fails or the disk is full.
pub async fn reconcile(
    store: &Store,
    pipeline: &sql::SqlPipeline,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let mut manifest = store.manifest().clone();
    manifest.complete = true;
    let script = pipeline.script("05_reconciliation.sql")?;
    let moves = moves(store, &script).await?;
    let rows: usize = moves
        .values()
        .flat_map(Moves::values)
        .map(HashMap::len)
        .sum();
    let reads = script.describe(|table| match table {
        "sources" => manifest.sources.len() as u64,
        table => manifest.rows(table),
    });
    progress.message(&format!("{reads}; {rows} rows moved"));
    if moves.values().all(HashMap::is_empty) {
        return Ok(manifest);
    }
    let generation = generation(&manifest);
    let mut incoming = IncomingParts::default();
    for table in [schema::PROMPTS, schema::RESPONSES, schema::PENDING] {
        let Some(moving) = moves.get(table) else {
            continue;
        };
        let old = manifest.tables.remove(table).unwrap_or_default();
        for part in old {
            let path = verified(store, table, &part)?;
            if !has_moving_row(&path, moving)? {
                manifest.add(table, part);
                continue;
            }
            // Part names: `STEM-gN` is a part rewritten in generation N, `STEM-mN` one of rows moved in it.
            let stem = part.file.trim_end_matches(".parquet");
            let stem = stem.rsplit_once("-g").map_or(stem, |(stem, _)| stem);
            let arriving = stem.split("-m").next().unwrap_or(stem);
            let arriving = format!("{arriving}-m{generation}");
            let reader = open(&path)?;
            let schema = SchemaRef::clone(reader.schema());
            let mut writer = store.part(table, &format!("{stem}-g{generation}"), schema)?;
            for batch in reader.build()? {
                let batch = batch?;
                let destinations = destinations(&batch, moving);
                let mask = |to: Option<Destination>| -> BooleanArray {
                    destinations.iter().map(|row| Some(*row == to)).collect()
                };
                writer.write(&filter_record_batch(&batch, &mask(None))?)?;
                for to in [
                    Destination::Quarantined,
                    Destination::Pending,
                    Destination::Responses,
                ] {
                    let moving = mask(Some(to));
                    if moving.true_count() > 0 {
                        let batch = filter_record_batch(&batch, &moving)?;
                        incoming.take(store, to, &arriving, &batch)?;
                    }
                }
            }
            manifest.add(table, writer.finish()?);
        }
    }
    incoming.finish(&mut manifest)?;
    Ok(manifest)
}

/// The path of a part, whose content was compared with its entry in the manifest.
pub(super) fn verified(store: &Store, table: &str, part: &Part) -> Result<PathBuf> {
    let parts = store.parts(table, std::slice::from_ref(part)).verified()?;
    let path = parts.into_iter().next();
    path.ok_or_else(|| Error::Internal(format!("{table}: a part has no path")))
}

/// Opens a part for reading in small batches.
pub(super) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    Ok(records::parquet(path)?.with_batch_size(BATCH))
}

/// Whether any row of a part moves. Only the narrow columns are read.
fn has_moving_row(path: &Path, moving: &Moves) -> Result<bool> {
    let reader = open(path)?;
    let id = reader.schema().field(0).name().clone();
    let columns = [id.as_str(), "source", "line"];
    let narrow = ProjectionMask::columns(reader.parquet_schema(), columns);
    for batch in reader.with_projection(narrow).build()? {
        if destinations(&batch?, moving).iter().any(Option::is_some) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows that move to another table: one new part per table and source.
#[derive(Default)]
struct IncomingParts {
    writers: BTreeMap<(Destination, String), PartWriter>,
}

impl IncomingParts {
    fn take(
        &mut self,
        store: &Store,
        to: Destination,
        name: &str,
        batch: &RecordBatch,
    ) -> Result<()> {
        let writer = match self.writers.entry((to, name.to_owned())) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(store.part(to.table(), name, to.schema())?),
        };
        if to == Destination::Quarantined {
            for duplicates in duplicates(batch)? {
                writer.write(&duplicates)?;
            }
        } else {
            writer.write(batch)?;
        }
        Ok(())
    }

    fn finish(self, manifest: &mut Manifest) -> Result<()> {
        for ((to, _), writer) in self.writers {
            manifest.add(to.table(), writer.finish()?);
        }
        Ok(())
    }
}

async fn moves(store: &Store, script: &sql::SqlStep) -> Result<HashMap<String, Moves>> {
    let context = session::with_store(store, &session::MemoryLimit::narrow())?;
    let batches = script.collect(&context, &sql::Options::new()).await?;
    let mut moves: HashMap<String, Moves> = HashMap::new();
    for batch in batches {
        let batch = crate::store::part::plain(&batch)?;
        let text = |column: usize| batch.column(column).as_string::<i32>().clone();
        let (table, source, id, destination) = (text(0), text(1), text(3), text(4));
        let line = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let to = match destination.value(row) {
                "pending" => Destination::Pending,
                "responses" => Destination::Responses,
                _ => Destination::Quarantined,
            };
            let of_source = moves
                .entry(table.value(row).to_owned())
                .or_default()
                .entry(source.value(row).to_owned())
                .or_default();
            let slot = of_source
                .entry((line.value(row), id.value(row).to_owned()))
                .or_insert(to);
            // A row that is both a duplicate and an orphan is quarantined.
            if to == Destination::Quarantined {
                *slot = Destination::Quarantined;
            }
        }
    }
    Ok(moves)
}

/// The destination of each row of a batch; `None` for rows that do not move.
fn destinations(batch: &RecordBatch, moving: &Moves) -> Vec<Option<Destination>> {
    let column = |name: &str| batch.column_by_name(name);
    let (Some(source), Some(line)) = (column("source"), column("line")) else {
        return vec![None; batch.num_rows()];
    };
    let (source, line) = (source.as_string::<i32>(), line.as_primitive::<Int64Type>());
    let id = batch.column(0).as_string::<i32>();
    (0..batch.num_rows())
        .map(|row| {
            let of_source = moving.get(source.value(row))?;
            of_source
                .get(&(line.value(row), id.value(row).to_owned()))
                .copied()
        })
        .collect()
}

/// Rows of prompts or responses in the schema of the quarantine.
fn duplicates(batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
    let named = |name: &str| {
        batch
            .column_by_name(name)
            .or_else(|| batch.column_by_name("title"))
    };
    let (Some(text), Some(source), Some(line)) = (named("text"), named("source"), named("line"))
    else {
        return Ok(Vec::new());
    };
    let (text, source) = (text.as_string::<i32>(), source.as_string::<i32>());
    let line = line.as_primitive::<Int64Type>();
    let id = batch.column(0).as_string::<i32>();
    let retrieved = named("retrieved_at")
        .and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    (0..batch.num_rows())
        .filter_map(|row| {
            let mut rows = TableBuilders::new(&source.value(row).into());
            let refusal = QuarantinedRow {
                reason: Reason::Duplicate,
                id: Some(id.value(row)),
                retrieved_at: retrieved
                    .filter(|column| column.is_valid(row))
                    .map(|column| column.value(row) / 1000),
                text: text.value(row),
            };
            rows.quarantine(line.value(row), &refusal);
            rows.finish()
                .map(|mut finished| finished.batches[2].take())
                .transpose()
        })
        .collect()
}

/// The generation number for new parts, whether rewritten or moved.
pub(super) fn generation(manifest: &Manifest) -> usize {
    let files = manifest
        .tables
        .values()
        .flatten()
        .map(|part| part.file.as_str());
    let number = |file: &str| -> Option<usize> {
        let stem = file.trim_end_matches(".parquet");
        let last = stem.rsplit('-').next()?;
        last.strip_prefix(['g', 'm'])?.parse().ok()
    };
    files.filter_map(number).max().unwrap_or(0) + 1
}
