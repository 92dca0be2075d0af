//! Watching a run: measures of texts that the policy writes to held-out prompts while it trains.

/// Collapse: thresholds of the measures, against those before the first step.
pub mod collapse;

/// The best step: the most diverse of those that are at least as good as the start.
pub mod best;

use polyphony_io::Result;
use serde::{Deserialize, Serialize};

/// A held-out prompt with the responses that were sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledPrompt {
    /// The prompt's text, without a chat template.
    pub prompt: String,
    /// The responses, in the order of their samples.
    pub responses: Vec<String>,
}

/// Measures of the sampled texts: each over the responses to a prompt, then the mean over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleMeasures {
    /// Bytes over bytes after gzip; more is more repetitive.
    #[serde(rename = "watch_compression_ratio")]
    pub compression_ratio: f64,
    /// The share of different pairs of neighbouring words, 0 to 1.
    #[serde(rename = "watch_distinct_2")]
    pub distinct_2: f64,
    /// Mean pairwise cosine distance of semantic embeddings, 0 to 2.
    #[serde(rename = "watch_semantic")]
    pub semantic: f64,
    /// Mean pairwise cosine distance of style embeddings, 0 to 2.
    #[serde(rename = "watch_style")]
    pub style: f64,
    /// The share of looping texts, 0 to 1.
    #[serde(rename = "watch_looping")]
    pub looping: f64,
    /// The mean reward, with a reward model.
    #[serde(
        rename = "watch_reward",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub reward: Option<f64>,
}

impl SampleMeasures {
    /// The mean of semantic and style distance.
    pub fn diversity(&self) -> f64 {
        f64::midpoint(self.semantic, self.style)
    }
}

/// A function that measures sampled texts. The measures are those of the evaluation, which this crate does not
/// depend on.
pub type MeasureSamples<'a> = dyn Fn(&[SampledPrompt]) -> Result<SampleMeasures> + Sync + 'a;
