//! Evaluation options: which outputs are evaluated, by which embedders and rewards, with which tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polyphony_engine::embed::Embedder;
use polyphony_model::device::DeviceSpec;
use serde::Serialize;
use serde_json::Value;

use crate::outputs::{Columns, OutputPath};
use crate::space::PerSpace;

/// The source of diversity in a space.
#[derive(Debug, Clone)]
pub enum SpaceSource {
    /// An embedder: diversity is computed from its embeddings.
    Embedder(Embedder),
    /// A column of the outputs with the deviation of each text.
    Column(String),
}

/// The source of rewards.
#[derive(Debug, Clone)]
pub enum RewardSource {
    /// A column of the outputs, by name; without a name the first of the usual names.
    Column(Option<String>),
    /// A reward model (folder or Hugging Face Hub id), and its device.
    Model(String, DeviceSpec),
    /// No source: rewards are not reported.
    None,
}

/// The source of equivalence classes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Equivalence {
    /// The class column of the outputs.
    Column,
    /// ROUGE-1 F1 above a threshold (`NoveltyBench`'s unigram rule).
    Rouge1,
}

/// Sizes of the resampling tests.
#[derive(Debug, Clone, Copy)]
pub struct ResamplingConfig {
    /// The number of bootstrap resamples per confidence interval.
    pub bootstrap_samples: usize,
    /// The number of random sign flips of the permutation test.
    pub permutations: usize,
    /// The random seed of subsampling, bootstrap and permutation test.
    pub seed: u64,
}

/// The options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvalConfig {
    /// Files or folders of model outputs.
    pub outputs: Vec<OutputPath>,
    /// Human-written texts: a store, or a file of outputs.
    pub gold: Option<PathBuf>,
    /// The column names of the files, where they differ from the usual ones.
    pub columns: Columns,
    /// The number of texts per model and prompt. `None`: the smallest of the models' most common numbers
    /// (see [`crate::subsample`]).
    pub k: Option<usize>,
    /// The source of diversity in each space.
    pub spaces: PerSpace<SpaceSource>,
    /// The source of rewards.
    pub reward: RewardSource,
    /// The source of equivalence classes.
    pub equivalence: Equivalence,
    /// Whether to report the values of the published code as well.
    pub reference_compat: bool,
    /// The primary measures, as indices into [`crate::measures::registry::columns`]: the family of tests that
    /// p-values are corrected for. Empty: all measures.
    pub primary: Vec<usize>,
    /// Sizes of bootstrap and permutation test, and the random seed.
    pub resampling: ResamplingConfig,
    /// The output folder of the report and of the embeddings.
    pub out: PathBuf,
    /// The options as on the command line, by flag with `_` for `-`, without outputs and gold: the report records
    /// them, so that it can be made again (`eval --verify`).
    pub arguments: BTreeMap<String, Value>,
}

impl EvalConfig {
    /// The columns, including those named by `spaces` and `reward`.
    pub(crate) fn named_columns(&self) -> Columns {
        let mut columns = self.columns.clone();
        columns.spaces = self.spaces.as_ref().map(|source| match source {
            SpaceSource::Column(name) => Some(name.clone()),
            SpaceSource::Embedder(_) => None,
        });
        if let RewardSource::Column(Some(name)) = &self.reward {
            columns.score = Some(name.clone());
        }
        columns
    }
}
