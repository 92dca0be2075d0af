//! Evaluation: the value of every measure for every model and prompt.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{FixedSizeListArray, Float32Array};
use polyphony_engine::embed::token_counts::TokenCounts;
use polyphony_engine::{Error, Result};
use polyphony_io::progress::{Progress, Unit};
use rayon::prelude::*;

use crate::config::{EvalConfig, SpaceSource};
use crate::embeddings::{self, UnitVectorSum};
use crate::measures::group::Group;
use crate::measures::mean_words::count_words;
use crate::measures::registry::columns;
use crate::outputs::{self, GOLD, Output};
use crate::rewards;
use crate::space::{PerSpace, Space};
use crate::stats::mean::mean;
use crate::subsample::Selection;

/// A text with the values that belong to it alone.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    /// The text with its model and prompt.
    pub output: &'a Output,
    /// The number of words.
    pub words: usize,
    /// The reward; `None` where the source has none.
    pub reward: Option<f64>,
    /// The mean distance to the model's other texts to the prompt, by space.
    pub deviation: PerSpace<Option<f64>>,
}

/// A model's texts to one prompt, of all its runs.
#[derive(Debug, Clone)]
pub struct ModelPrompt<'a> {
    /// The texts, in order of run and sample number.
    pub texts: Vec<Text<'a>>,
    /// The value of each column of [`columns`]; `None` where undefined. For a model of several runs the mean of
    /// the values of the runs, undefined where one of them is.
    pub values: Vec<Option<f64>>,
    /// The sum of the texts' unit vectors, by space.
    pub sums: PerSpace<Option<UnitVectorSum>>,
    /// The embeddings of the texts of each run, by space.
    pub vectors: PerSpace<Option<Vec<Vec<Float32Array>>>>,
}

/// A training run of a model of several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The seed of the run.
    pub seed: String,
    /// The number of evaluated texts.
    pub responses: usize,
    /// By prompt, the value of each column of [`columns`]; `None` where the run has no text to the prompt.
    pub values: Vec<Option<Vec<Option<f64>>>>,
}

impl Run {
    /// The values of a column, one per prompt.
    pub fn values(&self, column: usize) -> Vec<Option<f64>> {
        let values = self.values.iter();
        values.map(|values| values.as_ref()?[column]).collect()
    }

    /// The mean of a column over the given prompts; NaN where it is undefined at one of them.
    pub fn mean(&self, column: usize, prompts: &[usize]) -> f64 {
        let value = |&prompt: &usize| self.values[prompt].as_ref().and_then(|of| of[column]);
        let values: Vec<f64> = prompts
            .iter()
            .map(|at| value(at).unwrap_or(f64::NAN))
            .collect();
        mean(&values)
    }
}

/// The values of all measures, by model and prompt.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The names of the models in natural order, gold last.
    pub models: Vec<String>,
    /// Id and text of each prompt.
    pub prompts: Vec<(String, String)>,
    /// A row per model, a column per prompt; `None` where the model has no text to the prompt.
    pub cells: Vec<Vec<Option<ModelPrompt<'a>>>>,
    /// The runs of each model, in the order of [`Self::models`]; empty for a model of one run.
    pub runs: Vec<Vec<Run>>,
    /// The number of evaluated texts per model and prompt.
    pub k: usize,
    /// The tokens of the texts, by space; `None` where no embedder with a maximum length was used.
    pub tokens: PerSpace<Option<TokenCounts>>,
}

impl Evaluation<'_> {
    /// The values of a column for a model, one per prompt.
    pub fn values(&self, model: usize, column: usize) -> Vec<Option<f64>> {
        let cells = self.cells[model].iter();
        cells
            .map(|cell| cell.as_ref().and_then(|cell| cell.values[column]))
            .collect()
    }

    /// The means of a column over the given prompts, one per run; empty for a model of one run.
    pub fn run_means(&self, model: usize, column: usize, prompts: &[usize]) -> Vec<f64> {
        let runs = self.runs[model].iter();
        runs.map(|run| run.mean(column, prompts)).collect()
    }

    /// The columns with at least one value, as indices into [`columns`].
    pub fn defined_columns(&self) -> Vec<usize> {
        let is_defined = |column: &usize| {
            let mut cells = self.cells.iter().flatten().flatten();
            cells.any(|cell| cell.values[*column].is_some())
        };
        (0..columns().len()).filter(is_defined).collect()
    }
}

/// Computes embeddings, rewards and all measures of the selected texts.
///
/// # Errors
/// When there is no text, a model fails, or a file cannot be written.
pub async fn evaluate<'a>(
    selection: &Selection<'a>,
    config: &EvalConfig,
    progress: &dyn Progress,
) -> Result<Evaluation<'a>> {
    let rows = &selection.rows;
    if rows.is_empty() {
        let hint = "name files with outputs";
        return Err(Error::input("outputs", "hold no text", hint));
    }
    let batch = outputs::batch(rows)?;
    embeddings::write_texts(&batch, &config.out)?;
    let rewards = rewards::rewards(rows, &config.reward, progress)?;
    let (mut vectors, mut tokens) = (PerSpace::default(), PerSpace::default());
    for space in Space::ALL {
        if let SpaceSource::Embedder(embedder) = config.spaces.get(space) {
            let (out, name) = (&config.out, space.name());
            let (computed, counts) =
                embeddings::embed(&batch, embedder, out, name, progress).await?;
            *vectors.get_mut(space) = Some(computed);
            *tokens.get_mut(space) = embedder.max_tokens().map(|_| counts);
        }
    }
    drop(batch);
    progress.start("measuring", Some(rows.len() as u64), Unit::Rows);
    let measured = AtomicU64::new(0);
    // utility_k needs utilities >= 0: rewards replace them only if no reward is negative.
    let are_utilities = rewards.iter().flatten().all(|reward| *reward >= 0.0);
    let measurement = Measurement {
        selection,
        config,
        rewards,
        vectors,
        are_utilities,
    };
    let cells: Vec<ModelPrompt<'a>> = groups(rows)
        .into_par_iter()
        .map(|group| {
            let count = group.len() as u64;
            let cell = measurement.cell(group);
            progress.set_position(measured.fetch_add(count, Ordering::Relaxed) + count);
            cell
        })
        .collect();
    progress.finish();
    Ok(Evaluation {
        tokens,
        ..assemble(selection, cells)
    })
}

/// The row range of each model and prompt; `rows` are sorted by both.
fn groups(rows: &[&Output]) -> Vec<Range<usize>> {
    let mut start = 0;
    let groups = rows.chunk_by(|a, b| a.same_group(b)).map(|group| {
        let range = start..start + group.len();
        start = range.end;
        range
    });
    groups.collect()
}

/// The inputs of the measures, shared by all groups.
struct Measurement<'a, 'b> {
    selection: &'b Selection<'a>,
    config: &'b EvalConfig,
    rewards: Vec<Option<f64>>,
    vectors: PerSpace<Option<FixedSizeListArray>>,
    are_utilities: bool,
}

impl<'a> Measurement<'a, '_> {
    /// Computes the measures of one group of rows.
    fn cell(&self, group: Range<usize>) -> ModelPrompt<'a> {
        let rows = &self.selection.rows[group.clone()];
        let deviations = PerSpace::from_fn(|space| match self.vectors.get(space) {
            Some(vectors) => embeddings::deviations(vectors, group.clone()),
            None => rows.iter().map(|row| *row.given.get(space)).collect(),
        });
        let texts: Vec<Text<'a>> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| Text {
                output: row,
                words: count_words(&row.response),
                reward: self.rewards[group.start + at],
                deviation: deviations.as_ref().map(|deviations| deviations[at]),
            })
            .collect();
        let vectors = PerSpace::from_fn(|space| {
            let vectors = self.vectors.get(space).as_ref()?;
            let rows = group
                .clone()
                .filter_map(|row| embeddings::row(vectors, row));
            Some(rows.collect::<Vec<_>>())
        });
        let rewards: Option<Vec<f64>> = texts.iter().map(|text| text.reward).collect();
        let utilities: Option<Vec<f64>> = rows.iter().map(|row| row.utility).collect();
        let inputs = Group {
            texts: rows.iter().map(|row| row.response.as_str()).collect(),
            embeddings: vectors.as_ref().map(|vectors| {
                let vectors = vectors.as_ref()?;
                Some(vectors.iter().map(|row| &**row.values()).collect())
            }),
            mean_distance: deviations.as_ref().map(|deviations| {
                let deviations: Vec<f64> = deviations.iter().copied().collect::<Option<_>>()?;
                Some(mean(&deviations))
            }),
            classes: rows.iter().map(|row| row.class).collect(),
            utilities: utilities.or_else(|| rewards.clone().filter(|_| self.are_utilities)),
            rewards,
        };
        ModelPrompt {
            values: inputs.measure(self.selection.k, self.config.reference_compat),
            sums: self
                .vectors
                .as_ref()
                .map(|vectors| Some(embeddings::sum(vectors.as_ref()?, group.clone()))),
            texts,
            vectors: vectors.map(|vectors| Some(vec![vectors?])),
        }
    }
}

/// Arranges the measured groups in a table of models and prompts.
fn assemble<'a>(selection: &Selection<'a>, cells: Vec<ModelPrompt<'a>>) -> Evaluation<'a> {
    let rows = &selection.rows;
    let models = ordered(rows.iter().map(|row| row.model.as_str()));
    let prompts = ordered(rows.iter().map(|row| row.prompt_id.as_str()));
    let index =
        |names: &[&'a str]| -> HashMap<&'a str, usize> { names.iter().copied().zip(0..).collect() };
    let (model_index, prompt_index) = (index(&models), index(&prompts));
    // For each model its cells by run; the number of digits first, so that runs are in order of their seeds.
    let mut by_run: Vec<ByRun<'_, 'a>> = Vec::new();
    by_run.resize_with(models.len(), BTreeMap::new);
    for cell in cells {
        let Some(first) = cell.texts.first().map(|text| text.output) else {
            continue;
        };
        let seed = first.run.as_deref().unwrap_or_default();
        let of_run = by_run[model_index[first.model.as_str()]]
            .entry((seed.len(), seed))
            .or_insert_with(|| (0..prompts.len()).map(|_| None).collect());
        of_run[prompt_index[first.prompt_id.as_str()]] = Some(cell);
    }
    let (table, runs) = by_run.into_iter().map(pooled).unzip();
    let mut prompt_texts: HashMap<&str, &str> = HashMap::new();
    for row in rows.iter().filter(|row| !row.prompt.is_empty()) {
        prompt_texts.entry(&row.prompt_id).or_insert(&row.prompt);
    }
    let prompts = prompts.into_iter().map(|id| {
        let text = prompt_texts.get(id).copied().unwrap_or_default();
        (id.to_owned(), text.to_owned())
    });
    Evaluation {
        prompts: prompts.collect(),
        models: models.into_iter().map(str::to_owned).collect(),
        cells: table,
        runs,
        k: selection.k,
        tokens: PerSpace::default(),
    }
}

/// The cells of a model, by the length of a run's seed and the seed, and by prompt.
type ByRun<'s, 'a> = BTreeMap<(usize, &'s str), Vec<Option<ModelPrompt<'a>>>>;

/// The cells of a model by prompt, pooled over its runs, and the runs; none where there is one.
fn pooled<'a>(by_run: ByRun<'_, 'a>) -> (Vec<Option<ModelPrompt<'a>>>, Vec<Run>) {
    if by_run.len() < 2 {
        return (by_run.into_values().flatten().collect(), Vec::new());
    }
    let run = |(&(_, seed), cells): (&(usize, &str), &Vec<Option<ModelPrompt<'a>>>)| Run {
        seed: seed.to_owned(),
        responses: cells.iter().flatten().map(|cell| cell.texts.len()).sum(),
        values: cells
            .iter()
            .map(|cell| cell.as_ref().map(|cell| cell.values.clone()))
            .collect(),
    };
    let runs: Vec<Run> = by_run.iter().map(run).collect();
    let mut rows = by_run.into_values().map(Vec::into_iter).collect::<Vec<_>>();
    let prompts = runs[0].values.len();
    let cells = (0..prompts).map(|_| {
        let cells = rows.iter_mut().map(|row| row.next().flatten());
        pooled_cell(&cells.collect::<Vec<_>>())
    });
    (cells.collect(), runs)
}

/// The cell of a model from those of its runs; `None` where no run has a text.
fn pooled_cell<'a>(cells: &[Option<ModelPrompt<'a>>]) -> Option<ModelPrompt<'a>> {
    let there: Vec<&ModelPrompt<'a>> = cells.iter().flatten().collect();
    let first = there.first()?;
    let value = |column: usize| {
        let values = cells.iter().map(|cell| cell.as_ref()?.values[column]);
        let values: Vec<f64> = values.collect::<Option<_>>()?;
        Some(mean(&values))
    };
    Some(ModelPrompt {
        texts: there
            .iter()
            .flat_map(|cell| cell.texts.iter().cloned())
            .collect(),
        values: (0..first.values.len()).map(value).collect(),
        sums: PerSpace::from_fn(|space| {
            let sums = there.iter().map(|cell| cell.sums.get(space).clone());
            sums.reduce(|one, other| Some(one?.plus(&other?))).flatten()
        }),
        vectors: PerSpace::from_fn(|space| {
            let runs = there.iter().map(|cell| cell.vectors.get(space).clone());
            Some(runs.collect::<Option<Vec<_>>>()?.concat())
        }),
    })
}

/// Distinct names in natural order: `p2` before `p10`, gold last.
fn ordered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_cached_key(|name| (*name == GOLD, natural_key(name), (*name).to_owned()));
    names.dedup();
    names
}

/// The sort key of natural order: the name split into pairs of non-digits and a number.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    // An adapter's scale is a decimal fraction; the bits of positive floats have the order of their values.
    let scale = name.rsplit_once("@scale=");
    if let Some((name, scale)) =
        scale.and_then(|(name, scale)| Some((name, scale.parse::<f64>().ok()?)))
    {
        parts = natural_key(name);
        parts.push(("@scale=".to_owned(), scale.max(0.0).to_bits()));
        return parts;
    }
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
