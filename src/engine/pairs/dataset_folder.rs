//! Data set folder: the pairs with one Parquet file a split and the card as `README.md`, as `load_dataset` of
//! `datasets` and the Hugging Face Hub read it.
//!
//! `pairs.parquet` is one file, and `load_dataset` calls all of its rows `train`; here each split is what it
//! says. The YAML header of the card names the files (`configs`, `data_files`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::path::Path;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::card::Card;
use crate::store::PartWriter;
use crate::{Error, Result, schema};
use polyphony_io::atomic::write_atomic;

/// The splits that `ingest` gives to prompts, in the order in which the card names them.
pub(super) const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// The number of pairs in memory at a time.
const BATCH: usize = 1024;

/// Writes the pairs of the file `pairs` to `folder`, one file a split, and the card. Files of an earlier run
/// are replaced; the file of a split that has no pairs any more is removed.
///
/// # Errors
/// When the folder is a store, a split's name is no word, or the disk is full.
pub(super) fn write(pairs: &Path, card: &Card, folder: &Path) -> Result<()> {
    if folder.join("manifest.json").exists() {
        return Err(Error::config(
            "--dataset",
            format!("{} is a store", folder.display()),
            "choose a folder of its own: it gets a file for each split, and README.md",
        ));
    }
    let file = File::open(pairs).map_err(Error::io("read", pairs))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH);
    let schema = SchemaRef::clone(reader.schema());
    let mut writers: BTreeMap<String, PartWriter> = BTreeMap::new();
    for batch in reader.build()? {
        for (split, rows) in by_split(&batch?)? {
            let writer = match writers.entry(split) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let name = checked(entry.key())?.to_owned();
                    entry.insert(PartWriter::create(
                        folder,
                        &name,
                        SchemaRef::clone(&schema),
                    )?)
                }
            };
            writer.write(&rows)?;
        }
    }
    let mut splits: Vec<String> = writers.keys().cloned().collect();
    splits.sort_by_key(|split| {
        SPLITS
            .iter()
            .position(|known| known == split)
            .unwrap_or(SPLITS.len())
    });
    for (_, writer) in writers {
        writer.finish()?;
    }
    for split in SPLITS
        .iter()
        .filter(|split| !splits.iter().any(|has| has == *split))
    {
        let stale = folder.join(format!("{split}.parquet"));
        if stale.exists() {
            fs::remove_file(&stale).map_err(Error::io("remove", &stale))?;
        }
    }
    write_atomic(&folder.join("README.md"), card.readme(&splits).as_bytes())
}

/// The rows of a batch by their split.
fn by_split(batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
    let column = batch.column_by_name("split");
    let Some(split) = column.and_then(|column| column.as_string_opt::<i32>()) else {
        let message = "has no column `split` of texts";
        let hint = "keep the columns of the built-in 60_pairs.sql";
        return Err(Error::input(schema::PAIRS, message, hint));
    };
    let mut names: Vec<&str> = split.iter().map(Option::unwrap_or_default).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let mask: BooleanArray = split
                .iter()
                .map(|value| Some(value.unwrap_or_default() == name))
                .collect();
            Ok((name.to_owned(), filter_record_batch(batch, &mask)?))
        })
        .collect()
}

/// The name of a split, which is also that of its file: `datasets` wants a word.
fn checked(split: &str) -> Result<&str> {
    if !split.is_empty()
        && split
            .chars()
            .all(|mark| mark.is_ascii_alphanumeric() || mark == '_')
    {
        return Ok(split);
    }
    Err(Error::config(
        "--dataset",
        format!("the split `{split}` cannot be a file name"),
        "name splits with letters, digits and underscores",
    ))
}
