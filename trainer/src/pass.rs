//! How does a step's batch go through the model? In passes of so many tokens: side by side on the CPU's
//! cores, one after another on a GPU, smaller ones where memory runs out.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use polyphony_io::{Error, Result};
use polyphony_model::memory::is_oom;
use rayon::prelude::*;

use crate::backward::head::TokenStats;
use crate::batch::Batch;
use crate::data::Example;
use crate::lora::Gradients;
use crate::objective::{Method, MetricSums, Objective, PairConstants, StepTotals};
use crate::policy::Policy;
use crate::sureness::TokenMetrics;

/// An example, and what does not change about it.
type TrainItem<'a> = (&'a Example, &'a PairConstants);

/// For passes that are seen through.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Passes through a model.
#[derive(Debug)]
pub struct MicroBatcher {
    objective: Objective,
    /// How many tokens go through at a time.
    tokens: Cell<usize>,
    recompute: bool,
}

impl MicroBatcher {
    /// Passes of so many tokens.
    pub fn new(objective: Objective, tokens: usize, recompute: bool) -> Self {
        Self {
            objective,
            tokens: Cell::new(tokens),
            recompute,
        }
    }

    /// How many tokens go through at a time now, where that is less than was asked for.
    pub fn reduced(&self, asked: usize) -> Option<usize> {
        Some(self.tokens.get()).filter(|tokens| *tokens < asked)
    }

    /// The loss of a batch and its gradients.
    ///
    /// # Errors
    /// When the device fails, or has too little memory for a single example.
    pub fn forward_backward(
        &self,
        policy: &Policy,
        examples: &[TrainItem<'_>],
    ) -> Result<(MetricSums, Vec<Tensor>)> {
        let names = policy.names().len();
        let totals = self.totals(examples);
        let mut gradients = Gradients::none(names);
        let mut sums = MetricSums::default();
        let (objective, recompute) = (self.objective, self.recompute);
        let pass = |part: &[TrainItem<'_>]| {
            let batch = batch(&objective, part);
            let mut sums = MetricSums::default();
            let mut gradients = Gradients::none(names);
            if objective.method == Method::Reward {
                policy.forward_backward_scores(&batch, &mut gradients, recompute, |scores| {
                    let (of_part, by) = objective.of_scores(scores, &targets(part), &totals);
                    sums = of_part;
                    by
                })?;
            } else {
                policy.forward_backward(&batch, &mut gradients, recompute, |token_stats| {
                    let (of_part, by) = answered(&objective, &batch, token_stats, part, &totals);
                    sums = of_part;
                    by
                })?;
            }
            Ok((sums, gradients))
        };
        self.each(policy, examples, &NEVER, pass, |(of_part, more)| {
            sums.add(&of_part);
            Ok(gradients.join(more)?)
        })?;
        let parameters = policy.parameters();
        Ok((sums, gradients.into_tensors(parameters.iter())?))
    }

    /// The loss of examples, without gradients, and what a reward model gives each; none once `stop` is
    /// set.
    ///
    /// # Errors
    /// As [`Self::forward_backward`].
    pub fn evaluate(
        &self,
        policy: &Policy,
        examples: &[TrainItem<'_>],
        stop: &AtomicBool,
    ) -> Result<Option<(MetricSums, Vec<f32>)>> {
        let totals = self.totals(examples);
        let mut sums = MetricSums::default();
        let mut all_scores = Vec::new();
        let objective = self.objective;
        let pass = |part: &[TrainItem<'_>]| {
            let batch = batch(&objective, part);
            if objective.method == Method::Reward {
                let scores = policy.scores(&batch)?;
                let (of_part, _) = objective.of_scores(&scores, &targets(part), &totals);
                return Ok((of_part, scores));
            }
            let token_stats = policy.token_stats(&batch)?;
            let (of_part, _) = answered(&objective, &batch, &token_stats, part, &totals);
            Ok((of_part, Vec::new()))
        };
        let all = self.each(policy, examples, stop, pass, |(of_part, scores)| {
            sums.add(&of_part);
            all_scores.extend(scores);
            Ok(())
        })?;
        Ok(all.then_some((sums, all_scores)))
    }

    fn each<R: Send>(
        &self,
        policy: &Policy,
        examples: &[TrainItem<'_>],
        stop: &AtomicBool,
        pass: impl Fn(&[TrainItem<'_>]) -> Result<R> + Sync,
        then: impl FnMut(R) -> Result<()>,
    ) -> Result<bool> {
        let size = |(example, _): &TrainItem<'_>| example.tokens();
        let at_once = at_once(policy);
        each(examples, &self.tokens, size, at_once, stop, pass, then)
    }

    fn totals(&self, examples: &[TrainItem<'_>]) -> StepTotals {
        let whole = self.objective.whole_chosen();
        let learnt = |(example, _): &TrainItem<'_>| {
            let first = if whole {
                1
            } else {
                example.chosen.prompt.max(1)
            };
            example.chosen.ids.len().saturating_sub(first)
        };
        StepTotals {
            pairs: examples.len(),
            weights: examples.iter().map(|(_, fixed)| fixed.weight).sum(),
            chosen_tokens: examples.iter().map(learnt).sum(),
        }
    }
}

/// What a reward model should give.
fn targets(part: &[TrainItem<'_>]) -> Vec<f64> {
    part.iter().map(|(example, _)| example.score).collect()
}

/// The share of a pass's answers in the loss, with how sure the model was of them, and the loss's
/// derivatives.
fn answered(
    objective: &Objective,
    batch: &Batch,
    token_stats: &TokenStats,
    part: &[TrainItem<'_>],
    totals: &StepTotals,
) -> (MetricSums, Vec<f32>) {
    let fixed: Vec<PairConstants> = part.iter().map(|(_, fixed)| **fixed).collect();
    let (mut sums, by) = objective.of(batch, &token_stats.logps, &fixed, totals);
    sums.sureness = TokenMetrics::of(batch, token_stats, objective.method);
    (sums, by)
}

fn batch(objective: &Objective, part: &[TrainItem<'_>]) -> Batch {
    let mut batch = Batch::default();
    for (example, _) in part {
        batch.add(&example.chosen, objective.whole_chosen());
        if let Some(rejected) = &example.rejected {
            batch.add(rejected, false);
        }
    }
    batch
}

/// How many passes go side by side: one a core of the CPU, one at a time on a GPU.
pub fn at_once(policy: &Policy) -> usize {
    if policy.decoder.device.is_cpu() {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Runs `pass` over parts of the examples, of at most so many tokens each by `size`, up to `at_once`
/// side by side, and hands what each gives to `then` in their order: so results do not depend on how
/// many cores there are. Where memory runs out (one at a time), over halves from then on. Ends early
/// once `stop` is set; whether it went through all.
///
/// # Errors
/// When a pass fails, or the device has too little memory for a single example.
pub fn each<T: Sync, R: Send>(
    examples: &[T],
    tokens: &Cell<usize>,
    size: impl Fn(&T) -> usize,
    at_once: usize,
    stop: &AtomicBool,
    pass: impl Fn(&[T]) -> Result<R> + Sync,
    mut then: impl FnMut(R) -> Result<()>,
) -> Result<bool> {
    if at_once > 1 {
        for ranges in by_tokens(examples.iter().map(&size), tokens.get()).chunks(at_once) {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let parts = ranges
                .par_iter()
                .map(|range| pass(&examples[range.clone()]));
            let done: Vec<Result<R>> = parts.collect();
            for of_part in done {
                then(of_part?)?;
            }
        }
        return Ok(true);
    }
    let mut rest = examples;
    while !rest.is_empty() {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut held = 0;
        let fits = |example: &&T| {
            held += size(example);
            held <= tokens.get()
        };
        let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        match pass(part) {
            Ok(of_part) => {
                then(of_part)?;
                rest = after;
            }
            Err(Error::Candle(error)) if is_oom(&error) => {
                let held: usize = part.iter().map(&size).sum();
                if part.len() == 1 {
                    return Err(Error::input(
                        "train",
                        format!("the device has too little memory for one pair of {held} tokens"),
                        "use --recompute, a smaller --max-length, or a smaller model",
                    ));
                }
                tokens.set(held / 2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Ranges of at most so many tokens, in order; one that is larger alone stands alone.
pub fn by_tokens(sizes: impl Iterator<Item = usize>, tokens: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut held = 0;
    for (place, size) in sizes.enumerate() {
        held += size;
        match ranges.last_mut() {
            Some(last) if held <= tokens => last.end = place + 1,
            _ => {
                ranges.push(place..place + 1);
                held = size;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_fit_the_budget() {
        let ranges = by_tokens([3, 3, 5, 1, 1, 9, 1].into_iter(), 6);
        assert_eq!(ranges, [0..2, 2..4, 4..5, 5..6, 6..7]);
        assert!(by_tokens(std::iter::empty(), 6).is_empty());
    }

    #[test]
    fn where_memory_runs_out_passes_become_smaller() {
        let tokens = Cell::new(100);
        let mut seen = Vec::new();
        let all = each(
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
                seen.push(part);
                Ok(())
            },
        );
        assert!(all.unwrap());
        assert_eq!((seen, tokens.get()), (vec![2, 2, 1], 20));
        let none = each(
            &[8],
            &tokens,
            |size| *size,
            1,
            &NEVER,
            |_| Err::<(), _>(candle_core::Error::Msg("out of memory".to_owned()).into()),
            Ok,
        );
        let said = none.unwrap_err().to_string();
        assert!(said.contains("one pair of 8 tokens"), "{said}");
    }

    #[test]
    fn who_is_told_to_stop_stops() {
        let stop = AtomicBool::new(false);
        let mut seen = 0;
        let all = each(
            &[1; 5],
            &Cell::new(1),
            |size| *size,
            1,
            &stop,
            |_| Ok(()),
            |()| {
                seen += 1;
                stop.store(seen == 2, Ordering::Relaxed);
                Ok(())
            },
        );
        assert_eq!((all.unwrap(), seen), (false, 2));
    }

    #[test]
    fn side_by_side_the_order_is_the_same() {
        let sizes: Vec<usize> = (1..40).collect();
        let parts = |at_once| {
            let mut parts = Vec::new();
            let tokens = Cell::new(50);
            let pass = |part: &[usize]| Ok(part.to_vec());
            each(
                &sizes,
                &tokens,
                |size| *size,
                at_once,
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
