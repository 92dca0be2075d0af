//! Measures of the texts that `train --watch` samples: the evaluation's measures and embedders, for the trainer.

use std::sync::Arc;

use polyphony_engine::deviation::deviations;
use polyphony_engine::embed::Embedder;
use polyphony_eval::measures::compression_ratio::compression_ratio;
use polyphony_eval::measures::distinct_n::distinct_n;
use polyphony_eval::measures::looping::{BOUND, looping};
use polyphony_io::Result;
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::text_tokenizer::LongTexts;
use polyphony_model::reward::RewardModel;
use polyphony_trainer::config::Config;
use polyphony_trainer::watch::{SampleMeasures, SampledPrompt};

/// The models that measure sampled texts.
pub(super) struct Instruments {
    semantic: Embedder,
    style: Embedder,
    reward: Option<Arc<RewardModel>>,
}

impl Instruments {
    /// Loads the embedders and the reward model of `--watch`, on the device of the run.
    ///
    /// # Errors
    /// When a model is missing or invalid.
    pub(super) fn load(config: &Config) -> Result<Self> {
        let device = DeviceSpec::parse(&config.device)?;
        let reward = config.watch_reward.as_deref();
        let long_texts = LongTexts::default();
        Ok(Self {
            semantic: Embedder::named(&config.watch_semantic, &[device], long_texts)?,
            style: Embedder::named(&config.watch_style, &[device], long_texts)?,
            reward: reward
                .map(|name| RewardModel::load_cached(name, device))
                .transpose()?,
        })
    }

    /// Measures the responses to each prompt, and takes the mean over prompts. A prompt whose responses are all
    /// empty has no compression ratio and no distinct-2, and does not count for these.
    ///
    /// # Errors
    /// When a model fails.
    pub(super) fn measure(&self, prompts: &[SampledPrompt]) -> Result<SampleMeasures> {
        let sets: Vec<Vec<&str>> = prompts
            .iter()
            .map(|prompt| prompt.responses.iter().map(String::as_str).collect())
            .collect();
        let mean_of = |measure: &dyn Fn(&[&str]) -> Option<f64>| {
            mean(sets.iter().filter_map(|texts| measure(texts)))
        };
        let distance = |embedder: &Embedder| -> Result<f64> {
            let distances: Vec<f64> = sets
                .iter()
                .map(|texts| mean_distance(embedder, texts))
                .collect::<Result<_>>()?;
            Ok(mean(distances.into_iter()))
        };
        let reward = match &self.reward {
            None => None,
            Some(model) => {
                let texts: Vec<(&str, &str)> = prompts
                    .iter()
                    .flat_map(|prompt| {
                        let responses = prompt.responses.iter();
                        responses.map(|response| (prompt.prompt.as_str(), response.as_str()))
                    })
                    .collect();
                let rewards = model.rewards(&texts)?;
                Some(mean(rewards.into_iter().map(f64::from)))
            }
        };
        Ok(SampleMeasures {
            compression_ratio: mean_of(&|texts| compression_ratio(texts)),
            distinct_2: mean_of(&|texts| distinct_n(texts, 2)),
            semantic: distance(&self.semantic)?,
            style: distance(&self.style)?,
            looping: mean_of(&|texts| looping(texts, BOUND)),
            reward,
        })
    }
}

/// The mean pairwise cosine distance of the texts' embeddings: the mean of their deviations.
fn mean_distance(embedder: &Embedder, texts: &[&str]) -> Result<f64> {
    let embedded = embedder.embed(texts, &|_, _| ())?;
    let deviations = deviations(&embedded.vectors, embedder.dimension());
    Ok(mean(deviations.into_iter()))
}

/// The mean; 0 of no values.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
