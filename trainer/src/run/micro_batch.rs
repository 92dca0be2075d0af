//! Micro-batches (gradient accumulation): a batch goes through the model in parts of a number of tokens, in
//! parallel on the CPU's cores, sequentially on a GPU, in smaller parts where memory runs out.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use polyphony_io::{Error, Result};
use polyphony_model::memory::is_oom;
use rayon::prelude::*;

use crate::data::batch::{Batch, split_by_tokens};
use crate::data::example::Example;
use crate::loss::metric_sums::MetricSums;
use crate::loss::objective::{Objective, PairConstants};
use crate::loss::step_totals::{DeviceTotals, StepTotals};
use crate::loss::token_metrics::TokenMetrics;
use crate::method::Method;
use crate::policy::Gradients;
use crate::policy::Policy;
use crate::policy::backward::head::TokenStats;

/// An example with its weight and reference log-probabilities.
pub type TrainItem<'a> = (&'a Example, &'a PairConstants);

/// An example of a step, with the totals that its share of the mean loss needs.
#[derive(Debug, Clone, Copy)]
struct StepItem<'a> {
    example: &'a Example,
    constants: &'a PairConstants,
    totals: StepTotals,
}

/// A stop flag that is never set: a training step is not interrupted.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Runs batches in micro-batches.
#[derive(Debug)]
pub struct MicroBatcher {
    objective: Objective,
    /// The number of consecutive examples of a step whose means over tokens and weights are taken together;
    /// none: all.
    device_batch_size: Option<usize>,
    /// The micro-batch size in tokens, reduced where memory runs out.
    tokens: Cell<usize>,
    gradient_checkpointing: bool,
}

impl MicroBatcher {
    /// A batcher with micro-batches of at most `tokens` tokens.
    pub fn new(
        objective: Objective,
        device_batch_size: Option<usize>,
        tokens: usize,
        gradient_checkpointing: bool,
    ) -> Self {
        Self {
            objective,
            device_batch_size,
            tokens: Cell::new(tokens),
            gradient_checkpointing,
        }
    }

    /// The micro-batch size in tokens, if memory has reduced it below `configured`.
    pub fn reduced_tokens(&self, configured: usize) -> Option<usize> {
        Some(self.tokens.get()).filter(|tokens| *tokens < configured)
    }

    /// The metrics of a batch and the gradients of its loss, in the order of the policy's parameters. Pairs
    /// that [`Objective::skips`] count for the batch's size, and are not passed through the model: their
    /// gradients are zero.
    ///
    /// # Errors
    /// When the device fails, or has too little memory for a single example.
    pub fn forward_backward(
        &self,
        policy: &Policy,
        examples: &[TrainItem<'_>],
    ) -> Result<(MetricSums, Vec<Tensor>)> {
        let count = policy.parameter_names().len();
        let mut items = self.step_items(examples);
        items.retain(|item| !self.objective.skips(item.constants.weight));
        let mut gradients = Gradients::empty(count);
        let mut sums = MetricSums::default();
        let (objective, recompute) = (self.objective, self.gradient_checkpointing);
        let pass = |part: &[StepItem<'_>]| {
            let batch = batch(&objective, part);
            let mut sums = MetricSums::default();
            let mut gradients = Gradients::empty(count);
            if objective.method == Method::Reward {
                policy.forward_backward_scores(&batch, &mut gradients, recompute, |scores| {
                    let (of_part, dloss_dreward) =
                        objective.reward_loss(scores, &targets(part), examples.len());
                    sums = of_part;
                    dloss_dreward
                })?;
            } else {
                policy.forward_backward(&batch, &mut gradients, recompute, |token_stats| {
                    let (of_part, dloss_dlogp) = token_loss(&objective, &batch, token_stats, part);
                    sums = of_part;
                    dloss_dlogp
                })?;
            }
            Ok((sums, gradients))
        };
        self.for_each(policy, &items, &NEVER, pass, |(of_part, of_gradients)| {
            sums.add(&of_part);
            Ok(gradients.accumulate(of_gradients)?)
        })?;
        let parameters = policy.parameters();
        Ok((sums, gradients.into_tensors(parameters.iter())?))
    }

    /// The metrics of examples, without gradients, and a reward model's outputs. No pair is skipped: metrics of
    /// held-out pairs do not depend on weights. Returns none once `stop` is set.
    ///
    /// # Errors
    /// As [`Self::forward_backward`].
    pub fn evaluate(
        &self,
        policy: &Policy,
        examples: &[TrainItem<'_>],
        stop: &AtomicBool,
    ) -> Result<Option<(MetricSums, Vec<f32>)>> {
        let items = self.step_items(examples);
        let mut sums = MetricSums::default();
        let mut all_rewards = Vec::new();
        let objective = self.objective;
        let pass = |part: &[StepItem<'_>]| {
            let batch = batch(&objective, part);
            if objective.method == Method::Reward {
                let rewards = policy.scores(&batch)?;
                let (of_part, _) = objective.reward_loss(&rewards, &targets(part), examples.len());
                return Ok((of_part, rewards));
            }
            let token_stats = policy.token_stats(&batch)?;
            let (of_part, _) = token_loss(&objective, &batch, &token_stats, part);
            Ok((of_part, Vec::new()))
        };
        let complete = self.for_each(policy, &items, stop, pass, |(of_part, rewards)| {
            sums.add(&of_part);
            all_rewards.extend(rewards);
            Ok(())
        })?;
        Ok(complete.then_some((sums, all_rewards)))
    }

    /// Runs a pass over the micro-batches of some examples, see [`for_each_micro_batch`].
    fn for_each<R: Send>(
        &self,
        policy: &Policy,
        items: &[StepItem<'_>],
        stop: &AtomicBool,
        pass: impl Fn(&[StepItem<'_>]) -> Result<R> + Sync,
        then: impl FnMut(R) -> Result<()>,
    ) -> Result<bool> {
        let size = |item: &StepItem<'_>| item.example.tokens();
        let parallelism = parallelism(policy);
        for_each_micro_batch(items, &self.tokens, size, parallelism, stop, pass, then)
    }

    /// The examples of a step with the totals that every micro-batch needs for its share of the mean loss.
    fn step_items<'a>(&self, examples: &[TrainItem<'a>]) -> Vec<StepItem<'a>> {
        let device_batch_size = self.device_batch_size.unwrap_or(examples.len()).max(1);
        let devices = examples.chunks(device_batch_size);
        let items = devices.flat_map(|device| {
            let totals = StepTotals {
                examples: examples.len(),
                device: self.device_totals(device),
            };
            device.iter().map(move |&(example, constants)| StepItem {
                example,
                constants,
                totals,
            })
        });
        items.collect()
    }

    /// Totals over the examples of one device.
    fn device_totals(&self, examples: &[TrainItem<'_>]) -> DeviceTotals {
        let with_prompt = self.objective.includes_prompt_targets();
        let targets = |(example, _): &TrainItem<'_>| {
            let first = if with_prompt {
                1
            } else {
                example.chosen.prompt_len.max(1)
            };
            example.chosen.ids.len().saturating_sub(first)
        };
        DeviceTotals {
            examples: examples.len(),
            weights: examples.iter().map(|(_, constants)| constants.weight).sum(),
            chosen_tokens: examples.iter().map(targets).sum(),
        }
    }
}

/// The target scores of a reward model.
fn targets(part: &[StepItem<'_>]) -> Vec<f64> {
    part.iter().map(|item| item.example.score).collect()
}

/// The metrics of a micro-batch and its loss's derivatives by each target's log-probability.
fn token_loss(
    objective: &Objective,
    batch: &Batch,
    token_stats: &TokenStats,
    part: &[StepItem<'_>],
) -> (MetricSums, Vec<f32>) {
    let constants: Vec<PairConstants> = part.iter().map(|item| *item.constants).collect();
    let totals: Vec<StepTotals> = part.iter().map(|item| item.totals).collect();
    let (mut sums, dloss_dlogp) = objective.loss(batch, &token_stats.logps, &constants, &totals);
    sums.token_metrics = TokenMetrics::new(batch, token_stats, objective.method);
    (sums, dloss_dlogp)
}

/// Packs the texts of a micro-batch: chosen and rejected ones alternately for pairs.
fn batch(objective: &Objective, part: &[StepItem<'_>]) -> Batch {
    let mut batch = Batch::default();
    for item in part {
        batch.add(&item.example.chosen, objective.includes_prompt_targets());
        if let Some(rejected) = &item.example.rejected {
            batch.add(rejected, false);
        }
    }
    batch
}

/// The number of micro-batches in parallel: one for each core on the CPU, one on a GPU.
pub fn parallelism(policy: &Policy) -> usize {
    if policy.decoder.device.is_cpu() {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Runs `pass` over micro-batches of at most `tokens` tokens, as `size` counts them, `parallelism` of them in
/// parallel, and passes their results to `then` in order, so that results do not depend on the number of
/// cores. Without parallelism, a micro-batch that runs out of memory is halved, and so are those after it.
/// Returns whether it finished: it stops once `stop` is set.
///
/// # Errors
/// When a pass fails, or the device has too little memory for a single example.
pub fn for_each_micro_batch<T: Sync, R: Send>(
    examples: &[T],
    tokens: &Cell<usize>,
    size: impl Fn(&T) -> usize,
    parallelism: usize,
    stop: &AtomicBool,
    pass: impl Fn(&[T]) -> Result<R> + Sync,
    mut then: impl FnMut(R) -> Result<()>,
) -> Result<bool> {
    if parallelism > 1 {
        for ranges in split_by_tokens(examples.iter().map(&size), tokens.get()).chunks(parallelism)
        {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let parts = ranges
                .par_iter()
                .map(|range| pass(&examples[range.clone()]));
            // Collected before `then`: the order of accumulation must not depend on timing.
            let results: Vec<Result<R>> = parts.collect();
            for result in results {
                then(result?)?;
            }
        }
        return Ok(true);
    }
    let mut rest = examples;
    while !rest.is_empty() {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut total = 0;
        let fits = |example: &&T| {
            total += size(example);
            total <= tokens.get()
        };
        let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        match pass(part) {
            Ok(result) => {
                then(result)?;
                rest = after;
            }
            Err(Error::Candle(error)) if is_oom(&error) => {
                let total: usize = part.iter().map(&size).sum();
                if part.len() == 1 {
                    return Err(Error::input(
                        "train",
                        format!("out of memory on a single example of {total} tokens"),
                        "use --gradient-checkpointing, a smaller --max-length, or a smaller model",
                    ));
                }
                tokens.set(total / 2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_halves_micro_batches() {
        let tokens = Cell::new(100);
        let mut part_sizes = Vec::new();
        let complete = for_each_micro_batch(
            &[8, 8, 8, 8, 8],
            &tokens,
            |size| *size,
            1,
            &NEVER,
            |part| {
                if part.len() > 2 {
                    return Err(
                        candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".to_owned()).into(),
                    );
                }
                Ok(part.len())
            },
            |part| {
                part_sizes.push(part);
                Ok(())
            },
        );
        assert!(complete.unwrap());
        assert_eq!((part_sizes, tokens.get()), (vec![2, 2, 1], 20));
        let failed = for_each_micro_batch(
            &[8],
            &tokens,
            |size| *size,
            1,
            &NEVER,
            |_| Err::<(), _>(candle_core::Error::Msg("out of memory".to_owned()).into()),
            Ok,
        );
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("single example of 8 tokens"), "{message}");
    }

    #[test]
    fn a_stop_takes_effect_between_micro_batches() {
        let stop = AtomicBool::new(false);
        let mut passes = 0;
        let complete = for_each_micro_batch(
            &[1; 5],
            &Cell::new(1),
            |size| *size,
            1,
            &stop,
            |_| Ok(()),
            |()| {
                passes += 1;
                stop.store(passes == 2, Ordering::Relaxed);
                Ok(())
            },
        );
        assert_eq!((complete.unwrap(), passes), (false, 2));
    }

    #[test]
    fn parallel_results_are_in_order() {
        let sizes: Vec<usize> = (1..40).collect();
        let parts = |parallelism| {
            let mut parts = Vec::new();
            let tokens = Cell::new(50);
            let pass = |part: &[usize]| Ok(part.to_vec());
            for_each_micro_batch(
                &sizes,
                &tokens,
                |size| *size,
                parallelism,
                &NEVER,
                pass,
                |part| {
                    parts.push(part);
                    Ok(())
                },
            )
            .unwrap();
            parts
        };
        assert_eq!(parts(1), parts(3));
        assert_eq!(parts(1).concat(), sizes);
    }
}
