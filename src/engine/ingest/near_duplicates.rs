//! Near-duplicates: prompts whose texts are almost the same, so that one on the side of training would give
//! away another in the test split. A connected group of them has one split.
//!
//! Two prompts are near-duplicates if the sets of word pairs of their normalized texts have a Jaccard
//! similarity of at least [`THRESHOLD`] (`minhash.rs`): one word changed in a prompt of twenty or more. They
//! stay two prompts, whose responses are not compared with each other. The split of a group is that of its
//! least `prompt_key`, so it does not depend on the order in which the prompts came.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;

use super::reconcile::{generation, open, verified};
use super::{minhash, prompt_key};
use crate::store::{Manifest, Store};
use crate::{Result, schema};
use polyphony_io::hash::short_id;
use polyphony_io::progress::Progress;

/// The least Jaccard similarity of near-duplicates.
pub const THRESHOLD: f64 = 0.8;

/// The prompts of a store, one for each key, in the order of the keys.
#[derive(Debug, Default)]
pub struct Prompts {
    /// The keys.
    pub keys: Vec<String>,
    /// The set of word pairs of each key's normalized text.
    pub word_pairs: Vec<Vec<u64>>,
    /// The least id of the posts of each key.
    ids: Vec<String>,
}

impl Prompts {
    /// Reads the prompts that a manifest lists.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn read(store: &Store, manifest: &Manifest) -> Result<Self> {
        let mut prompts: BTreeMap<String, (String, Vec<u64>)> = BTreeMap::new();
        for part in manifest.parts(schema::PROMPTS) {
            let reader = open(&verified(store, schema::PROMPTS, part)?)?;
            let columns = ["prompt_id", "prompt", "prompt_key"];
            let narrow = ProjectionMask::columns(reader.parquet_schema(), columns);
            for batch in reader.with_projection(narrow).build()? {
                let batch = batch?;
                let [ids, texts, keys] =
                    [0, 1, 2].map(|column| batch.column(column).as_string::<i32>());
                for row in 0..batch.num_rows() {
                    let id = ids.value(row);
                    let (least, _) =
                        prompts
                            .entry(keys.value(row).to_owned())
                            .or_insert_with(|| {
                                (
                                    id.to_owned(),
                                    minhash::word_pairs(&prompt_key::normalize(texts.value(row))),
                                )
                            });
                    if id < least.as_str() {
                        id.clone_into(least);
                    }
                }
            }
        }
        let mut all = Self::default();
        for (key, (id, word_pairs)) in prompts {
            all.keys.push(key);
            all.word_pairs.push(word_pairs);
            all.ids.push(id);
        }
        Ok(all)
    }
}

/// Writes the table of near-duplicates of a manifest that is not committed, and gives each group of them one
/// split.
///
/// # Errors
/// When a part cannot be read, or the disk is full.
pub fn join_splits(store: &Store, manifest: &mut Manifest, progress: &dyn Progress) -> Result<()> {
    let prompts = Prompts::read(store, manifest)?;
    let pairs = minhash::similar_pairs(&prompts.word_pairs, THRESHOLD);
    manifest.tables.remove(schema::NEAR_DUPLICATES);
    if !pairs.is_empty() {
        progress.message(&format!("{} pairs of near-duplicate prompts", pairs.len()));
        write_pairs(store, manifest, &prompts, &pairs)?;
    }
    let groups = groups(prompts.keys.len(), &pairs);
    let splits: HashMap<&str, &'static str> = prompts
        .keys
        .iter()
        .zip(groups)
        .map(|(key, least)| (key.as_str(), prompt_key::split(&prompts.keys[least])))
        .collect();
    rewrite_splits(store, manifest, &splits)
}

/// The least member of each prompt's group, by union-find over the pairs.
fn groups(count: usize, pairs: &[(usize, usize, f64)]) -> Vec<usize> {
    fn root(parents: &mut [usize], mut member: usize) -> usize {
        while parents[member] != member {
            parents[member] = parents[parents[member]];
            member = parents[member];
        }
        member
    }
    let mut parents: Vec<usize> = (0..count).collect();
    for (first, second, _) in pairs {
        let (a, b) = (root(&mut parents, *first), root(&mut parents, *second));
        parents[a.max(b)] = a.min(b);
    }
    (0..count)
        .map(|member| root(&mut parents, member))
        .collect()
}

/// Writes the pairs as one part, sorted by the ids and named by its content.
fn write_pairs(
    store: &Store,
    manifest: &mut Manifest,
    prompts: &Prompts,
    pairs: &[(usize, usize, f64)],
) -> Result<()> {
    let mut rows: Vec<(&str, &str, f64)> = pairs
        .iter()
        .map(|(first, second, similarity)| {
            let (a, b) = (prompts.ids[*first].as_str(), prompts.ids[*second].as_str());
            (a.min(b), a.max(b), *similarity)
        })
        .collect();
    rows.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let content: Vec<String> = rows
        .iter()
        .map(|(a, b, similarity)| format!("{a} {b} {similarity}"))
        .collect();
    let name = short_id(&content.iter().map(String::as_str).collect::<Vec<_>>());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    let schema = schema::near_duplicates();
    let mut writer = store.part(schema::NEAR_DUPLICATES, &name, SchemaRef::clone(&schema))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    manifest.add(schema::NEAR_DUPLICATES, writer.finish()?);
    Ok(())
}

/// Rewrites the parts of prompts in which a split differs from that of the prompt's key in `splits`.
fn rewrite_splits(
    store: &Store,
    manifest: &mut Manifest,
    splits: &HashMap<&str, &'static str>,
) -> Result<()> {
    let generation = generation(manifest);
    let old = manifest.tables.remove(schema::PROMPTS).unwrap_or_default();
    for part in old {
        let path = verified(store, schema::PROMPTS, &part)?;
        if !differs(&path, splits)? {
            manifest.add(schema::PROMPTS, part);
            continue;
        }
        let stem = part.file.trim_end_matches(".parquet");
        let stem = stem.rsplit_once("-g").map_or(stem, |(stem, _)| stem);
        let reader = open(&path)?;
        let schema = SchemaRef::clone(reader.schema());
        let (key, split) = (schema.index_of("prompt_key")?, schema.index_of("split")?);
        let mut writer = store.part(schema::PROMPTS, &format!("{stem}-g{generation}"), schema)?;
        for batch in reader.build()? {
            let batch = batch?;
            let keys = batch.column(key).as_string::<i32>();
            let mut columns = batch.columns().to_vec();
            columns[split] = Arc::new(splits_of(keys, splits));
            writer.write(&RecordBatch::try_new(batch.schema(), columns)?)?;
        }
        manifest.add(schema::PROMPTS, writer.finish()?);
    }
    Ok(())
}

/// Whether a split of a part differs from that of the prompt's key. Only the narrow columns are read.
fn differs(path: &Path, splits: &HashMap<&str, &'static str>) -> Result<bool> {
    let reader = open(path)?;
    let narrow = ProjectionMask::columns(reader.parquet_schema(), ["prompt_key", "split"]);
    for batch in reader.with_projection(narrow).build()? {
        let batch = batch?;
        let keys = batch.column(0).as_string::<i32>();
        if splits_of(keys, splits) != *batch.column(1).as_string::<i32>() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn splits_of(keys: &StringArray, splits: &HashMap<&str, &'static str>) -> StringArray {
    let split = |key| {
        splits
            .get(key)
            .copied()
            .unwrap_or_else(|| prompt_key::split(key))
    };
    keys.iter().map(|key| key.map(split)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_pairs_is_one_group_with_its_least_member() {
        let pairs = [(1, 4, 0.9), (3, 4, 0.8), (0, 2, 1.0)];
        assert_eq!(groups(6, &pairs), [0, 1, 0, 1, 1, 5]);
    }
}
