//! What does every measure say of every model at every prompt?

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, Schema};
use polyphony_engine::datafusion::datasource::MemTable;
use polyphony_engine::embed::Embedder;
use polyphony_engine::{Error, Result, session, sql};
use polyphony_io::progress::{Progress, Unit};
use polyphony_model::device::DeviceSpec;
use polyphony_model::reward::RewardModel;
use rayon::prelude::*;
use serde::Serialize;

use crate::catalogue::{self, Group, MEASURES};
use crate::choose::Selection;
use crate::measure::compression_ratio::reference_compression_ratio;
use crate::measure::homogenization::reference_homogenization;
use crate::measure::self_repetition::reference_self_repetition;
use crate::measure::utility_k::{PATIENCE, utility_k};
use crate::outputs::{self, Output};
use crate::udf;
use crate::vectors::{self, UnitVectorSum};

/// Where diversity in a space comes from.
#[derive(Debug, Clone)]
pub enum Space {
    /// An embedder.
    Embedder(Embedder),
    /// A column of the files, which says it of each text.
    Column(String),
}

/// Where rewards come from.
#[derive(Debug, Clone)]
pub enum Reward {
    /// The files' scores.
    Column,
    /// A reward model, by folder or hub id.
    Model(String, DeviceSpec),
    /// Nowhere.
    None,
}

/// Where classes of equivalent texts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Classes {
    /// The files' own column.
    File,
    /// The words that texts share.
    Words,
}

/// The names of both spaces.
pub const SPACES: [&str; 2] = ["semantic", "style"];

/// How an evaluation goes.
#[derive(Debug, Clone)]
pub struct EvalConfig {
    /// Where diversity comes from: semantic and style.
    pub spaces: [Space; 2],
    /// Where rewards come from.
    pub reward: Reward,
    /// Where classes of equivalent texts come from.
    pub classes: Classes,
    /// Whether the published code's values are shown, too.
    pub reference_compat: bool,
    /// Where vectors are kept.
    pub out: PathBuf,
}

/// A text with what is known of it alone.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    /// The text.
    pub output: &'a Output,
    /// How many words it has.
    pub words: i64,
    /// How good it was found.
    pub reward: Option<f64>,
    /// Its mean distance to the model's other texts to the prompt, by space.
    pub deviation: [Option<f64>; 2],
}

/// A model's texts to one prompt.
#[derive(Debug, Clone)]
pub struct ModelPrompt<'a> {
    /// The texts, by sample.
    pub texts: Vec<Text<'a>>,
    /// A value a measure of [`MEASURES`]; none where undefined.
    pub values: Vec<Option<f64>>,
    /// The sums of its texts' unit vectors, by space.
    pub sums: [Option<UnitVectorSum>; 2],
}

/// All cells.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The models, gold last.
    pub models: Vec<String>,
    /// The prompts: id and text.
    pub prompts: Vec<(String, String)>,
    /// A row a model, a column a prompt.
    pub cells: Vec<Vec<Option<ModelPrompt<'a>>>>,
    /// How many texts of a model to a prompt count.
    pub k: usize,
}

impl Evaluation<'_> {
    /// A measure's values of a model, a prompt each.
    pub fn values(&self, model: usize, measure: usize) -> Vec<Option<f64>> {
        let cells = self.cells[model].iter();
        cells
            .map(|cell| cell.as_ref().and_then(|cell| cell.values[measure]))
            .collect()
    }

    /// The measures that are defined somewhere.
    pub fn measures(&self) -> Vec<usize> {
        let defined = |measure: &usize| {
            let mut cells = self.cells.iter().flatten().flatten();
            cells.any(|cell| cell.values[*measure].is_some())
        };
        (0..MEASURES.len()).filter(defined).collect()
    }
}

/// Measures everything.
///
/// # Errors
/// When a model fails or the disk is full.
pub async fn evaluate<'a>(
    chosen: &Selection<'a>,
    how: &EvalConfig,
    progress: &dyn Progress,
) -> Result<Evaluation<'a>> {
    let batch = outputs::batch(&chosen.rows)?;
    vectors::write_texts(&batch, &how.out)?;
    let rewards = rewards(&chosen.rows, &how.reward, progress)?;
    let mut vectors = Vec::new();
    for (name, space) in SPACES.iter().zip(&how.spaces) {
        vectors.push(match space {
            Space::Embedder(embedder) => {
                Some(vectors::of(&batch, embedder, &how.out, name, progress).await?)
            }
            Space::Column(_) => None,
        });
    }
    let rows = batch.num_rows() as u64;
    progress.start("measuring", Some(rows), Unit::Rows);
    let groups = groups(&chosen.rows);
    let measured = measure(&batch, &vectors, &groups, progress).await?;
    let evaluation = assemble(chosen, how, &batch, &groups, &measured, &rewards, &vectors);
    progress.finish();
    Ok(evaluation)
}

fn rewards(rows: &[&Output], reward: &Reward, progress: &dyn Progress) -> Result<Vec<Option<f64>>> {
    /// So many texts are rewarded before progress is told.
    const A_STRETCH: usize = 256;
    match reward {
        Reward::None => Ok(vec![None; rows.len()]),
        Reward::Column => Ok(rows.iter().map(|row| row.score).collect()),
        Reward::Model(name, place) => {
            let model = RewardModel::load_cached(name, *place)?;
            let mut rewards = Vec::with_capacity(rows.len());
            progress.start("rewarding", Some(rows.len() as u64), Unit::Rows);
            for part in rows.chunks(A_STRETCH) {
                // Of a text to an unknown prompt it knows nothing.
                let asked = |row: &&&Output| !row.prompt.is_empty();
                let pairs: Vec<(&str, &str)> = part
                    .iter()
                    .filter(asked)
                    .map(|row| (row.prompt.as_str(), row.response.as_str()))
                    .collect();
                let mut given = model.rewards(&pairs)?.into_iter();
                rewards.extend(part.iter().map(|row| {
                    let reward = asked(&row).then(|| given.next()).flatten();
                    reward.map(f64::from)
                }));
                progress.set_position(rewards.len() as u64);
            }
            progress.finish();
            Ok(rewards)
        }
    }
}

/// Runs `80_measures.sql` over the texts and their vectors, a stretch of groups at a time: each measure
/// gathers what it looks at.
async fn measure(
    batch: &RecordBatch,
    vectors: &[Option<FixedSizeListArray>],
    groups: &[Range<usize>],
    progress: &dyn Progress,
) -> Result<RecordBatch> {
    let context = session::bare(&session::MemoryLimit::unbounded())?;
    udf::register_all(&context)?;
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (name, vectors) in SPACES.iter().zip(vectors) {
        let column: ArrayRef = match vectors {
            Some(vectors) => Arc::new(vectors.clone()),
            // Nothing to measure: a vector of one value that is missing everywhere.
            None => arrow::array::new_null_array(
                &DataType::FixedSizeList(
                    Arc::new(Field::new_list_field(DataType::Float32, true)),
                    1,
                ),
                batch.num_rows(),
            ),
        };
        fields.push(Arc::new(Field::new(
            *name,
            column.data_type().clone(),
            true,
        )));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    let whole = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let script = sql::SqlStep::parse(
        "sql/80_measures.sql",
        include_str!("../../sql/80_measures.sql"),
    )?;
    let mut measured = Vec::new();
    for rows in stretches(groups) {
        // In slices, so that every core gets some.
        let step = rows.len().div_ceil(64).max(1);
        let slices = rows
            .clone()
            .step_by(step)
            .map(|at| whole.slice(at, step.min(rows.end - at)));
        let table = MemTable::try_new(Arc::clone(&schema), vec![slices.collect()])?;
        context.deregister_table("outputs")?;
        context.register_table("outputs", Arc::new(table))?;
        measured.extend(script.collect(&context, &sql::Options::new()).await?);
        progress.set_position(rows.end as u64);
    }
    let Some(first) = measured.first() else {
        return Err(Error::input(
            "outputs",
            "hold no text",
            "name files with outputs",
        ));
    };
    Ok(arrow::compute::concat_batches(&first.schema(), &measured)?)
}

/// The rows of each model and prompt, which stand together.
fn groups(rows: &[&Output]) -> Vec<Range<usize>> {
    let mut from = 0;
    let groups = rows.chunk_by(|a, b| a.same_cell(b)).map(|group| {
        let range = from..from + group.len();
        from = range.end;
        range
    });
    groups.collect()
}

/// Stretches of whole groups.
fn stretches(groups: &[Range<usize>]) -> Vec<Range<usize>> {
    /// A stretch has so many rows, and the rest of its last group.
    const ROWS: usize = 4096;
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for group in groups {
        match stretches.last_mut() {
            Some(last) if last.len() < ROWS => last.end = group.end,
            _ => stretches.push(group.clone()),
        }
    }
    stretches
}

/// Puts the measures, rewards and deviations of every group where they belong: `measured` has a row for
/// each of `groups`, in their order.
fn assemble<'a>(
    chosen: &Selection<'a>,
    how: &EvalConfig,
    batch: &RecordBatch,
    groups: &[Range<usize>],
    measured: &RecordBatch,
    rewards: &[Option<f64>],
    vectors: &[Option<FixedSizeListArray>],
) -> Evaluation<'a> {
    let models = ordered(chosen.rows.iter().map(|row| row.model.as_str()));
    let prompts = ordered(chosen.rows.iter().map(|row| row.prompt_id.as_str()));
    let place =
        |names: &[String]| -> HashMap<String, usize> { names.iter().cloned().zip(0..).collect() };
    let (model_at, prompt_at) = (place(&models), place(&prompts));
    let words = batch["words"].as_primitive::<Int64Type>();
    // Rewards can only stand for what texts are worth to a reader where none takes anything away.
    let are_utilities = rewards.iter().flatten().all(|reward| *reward >= 0.0);
    let cells: Vec<(usize, usize, ModelPrompt<'a>)> = groups
        .par_iter()
        .cloned()
        .enumerate()
        .map(|(group, rows)| {
            let deviation = |space: usize| -> Vec<Option<f64>> {
                match &vectors[space] {
                    Some(vectors) => vectors::deviations(vectors, rows.clone()),
                    None => chosen.rows[rows.clone()]
                        .iter()
                        .map(|row| row.given[space])
                        .collect(),
                }
            };
            let deviations = [deviation(0), deviation(1)];
            let texts: Vec<Text<'a>> = rows
                .clone()
                .enumerate()
                .map(|(number, row)| Text {
                    output: chosen.rows[row],
                    words: words.value(row),
                    reward: rewards[row],
                    deviation: [deviations[0][number], deviations[1][number]],
                })
                .collect();
            let values = values(&texts, measured, group, chosen.k, how, are_utilities);
            let first = chosen.rows[rows.start];
            let cell = ModelPrompt {
                values,
                sums: [0, 1].map(|space| {
                    let vectors: Option<&FixedSizeListArray> = vectors[space].as_ref();
                    vectors.map(|vectors| vectors::sum(vectors, rows.clone()))
                }),
                texts,
            };
            (model_at[&first.model], prompt_at[&first.prompt_id], cell)
        })
        .collect();
    let mut table: Vec<Vec<Option<ModelPrompt<'a>>>> = Vec::new();
    table.resize_with(models.len(), || (0..prompts.len()).map(|_| None).collect());
    for (model, prompt, cell) in cells {
        table[model][prompt] = Some(cell);
    }
    let mut texts = HashMap::new();
    for row in chosen.rows.iter().filter(|row| !row.prompt.is_empty()) {
        texts
            .entry(row.prompt_id.as_str())
            .or_insert(row.prompt.as_str());
    }
    let prompts = prompts.into_iter().map(|id| {
        let text = texts
            .get(id.as_str())
            .copied()
            .unwrap_or_default()
            .to_owned();
        (id, text)
    });
    Evaluation {
        prompts: prompts.collect(),
        models,
        cells: table,
        k: chosen.k,
    }
}

/// The values of one group.
fn values(
    texts: &[Text<'_>],
    measured: &RecordBatch,
    group: usize,
    k: usize,
    how: &EvalConfig,
    rewards_are_utilities: bool,
) -> Vec<Option<f64>> {
    let mut values: Vec<Option<f64>> = MEASURES
        .iter()
        .map(|measure| {
            let column = measured.column_by_name(measure.name)?;
            let column = column.as_primitive_opt::<Float64Type>()?;
            column.is_valid(group).then(|| column.value(group))
        })
        .collect();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(at) = catalogue::index(name) {
            values[at] = value.filter(|value| value.is_finite());
        }
    };
    for (space, name) in SPACES.iter().enumerate() {
        if matches!(how.spaces[space], Space::Column(_)) {
            set(name, mean(texts.iter().map(|text| text.deviation[space])));
        }
    }
    if how.reference_compat {
        let texts: Vec<&str> = texts
            .iter()
            .map(|text| text.output.response.as_str())
            .collect();
        set("reference_homogenization", reference_homogenization(&texts));
        set(
            "reference_compression_ratio",
            reference_compression_ratio(&texts),
        );
        set(
            "reference_self_repetition",
            reference_self_repetition(&texts, 4),
        );
    }
    let classes: Option<Vec<i64>> = texts.iter().map(|text| text.output.class).collect();
    if classes.is_none() {
        set("distinct_k", None);
    }
    // A set of one text, or of fewer than the others have, has no diversity that compares.
    if texts.len() < k || k < 2 {
        for (value, measure) in values.iter_mut().zip(&MEASURES) {
            if matches!(measure.group, Group::Vectors | Group::Words) {
                *value = None;
            }
        }
    }
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(at) = catalogue::index(name) {
            values[at] = value;
        }
    };
    set("reward", mean(texts.iter().map(|text| text.reward)));
    let given: Option<Vec<f64>> = texts.iter().map(|text| text.output.utility).collect();
    let rewards = || texts.iter().map(|text| text.reward).collect();
    let utilities = given.or_else(|| rewards_are_utilities.then(rewards).flatten());
    let utility = classes
        .zip(utilities)
        .and_then(|(classes, rewards)| utility_k(&classes, &rewards, PATIENCE));
    set("utility_k", utility.filter(|_| texts.len() >= k && k > 1));
    set(
        "words",
        mean(texts.iter().map(|text| Some(text.words as f64))),
    );
    values
}

/// The mean where every text has a value.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| crate::statistics::mean::mean(&values))
}

/// Names once each, in the order of people: `p2` before `p10`, gold last.
fn ordered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_cached_key(|name| (*name == outputs::GOLD, natural(name), (*name).to_owned()));
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}

/// A name as words and numbers by turns.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// The values of a vector, for those who read a batch.
pub(crate) fn row(vectors: &FixedSizeListArray, row: usize) -> Option<Arc<Float32Array>> {
    vectors
        .is_valid(row)
        .then(|| Arc::new(vectors.value(row).as_primitive::<Float32Type>().clone()))
}
