//! Evaluation options: which outputs are evaluated, by which embedders and rewards, with which tests.

use std::path::PathBuf;

use polyphony_engine::embed::Embedder;
use polyphony_model::device::DeviceSpec;
use serde::Serialize;

use crate::outputs::{Columns, OutputPath};
use crate::space::PerSpace;

/// The source of diversity in a space.
#[derive(Debug, Clone)]
pub enum SpaceSource {
    /// An embedder: diversity is that of its vectors.
    Embedder(Embedder),
    /// A column of the outputs: the deviation of each text.
    Column(String),
}

/// The source of rewards.
#[derive(Debug, Clone)]
pub enum RewardSource {
    /// A column of the outputs: the one of that name, else the first of the usual names.
    Column(Option<String>),
    /// A reward model, by folder or hub id, and its device.
    Model(String, DeviceSpec),
    /// None: rewards are not reported.
    None,
}

/// The source of equivalence classes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Equivalence {
    /// A column of the outputs.
    Column,
    /// ROUGE-1 above a threshold (`NoveltyBench`'s unigram rule).
    Rouge1,
}

/// Sizes of the resampling tests.
#[derive(Debug, Clone, Copy)]
pub struct ResamplingConfig {
    /// Bootstrap resamples for confidence intervals.
    pub bootstrap_samples: usize,
    /// Permutation test: the number of sign flips.
    pub permutations: usize,
    /// The random seed.
    pub seed: u64,
}

/// The options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvalConfig {
    /// Files or folders of outputs.
    pub outputs: Vec<OutputPath>,
    /// Texts by people: a store, or a file of outputs.
    pub gold: Option<PathBuf>,
    /// The columns of the files, where they have other than the usual names.
    pub columns: Columns,
    /// The number of texts of each model to a prompt. Without it: the smallest number that a model
    /// usually has.
    pub k: Option<usize>,
    /// The sources of diversity.
    pub spaces: PerSpace<SpaceSource>,
    /// The source of rewards.
    pub reward: RewardSource,
    /// The source of equivalence classes.
    pub equivalence: Equivalence,
    /// Whether the published code's values are shown, too.
    pub reference_compat: bool,
    /// Bootstrap, permutation test and random seed.
    pub resampling: ResamplingConfig,
    /// The folder of the report and of the embeddings.
    pub out: PathBuf,
}

impl EvalConfig {
    /// The columns, with those that `spaces` and `reward` name.
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
