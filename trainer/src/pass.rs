//! How does a step's batch go through the model? In passes of so many tokens, smaller ones where
//! memory runs out.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use polyphony_engine::{Error, Result};

use crate::batch::Batch;
use crate::data::Example;
use crate::lora::Gradients;
use crate::objective::{Fixed, Method, Objective, Sums, Totals};
use crate::policy::Policy;

/// An example, and what does not change about it.
type Known<'a> = (&'a Example, &'a Fixed);

/// For passes that are seen through.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Passes through a model.
#[derive(Debug)]
pub struct Passes {
    objective: Objective,
    /// How many tokens go through at a time.
    tokens: Cell<usize>,
    recompute: bool,
}

impl Passes {
    /// Passes of so many tokens.
    pub fn new(objective: Objective, tokens: usize, recompute: bool) -> Self {
        Self {
            objective,
            tokens: Cell::new(tokens),
            recompute,
        }
    }

    /// The loss of a batch and its gradients.
    ///
    /// # Errors
    /// When the device fails, or has too little memory for a single example.
    pub fn learn(&self, policy: &Policy, examples: &[Known<'_>]) -> Result<(Sums, Vec<Tensor>)> {
        let names = policy.names().len();
        let totals = self.totals(examples);
        let mut gradients = Gradients::none(names);
        let mut sums = Sums::default();
        self.each(examples, &NEVER, |batch, part| {
            // A pass that fails midway leaves no half gradients behind.
            let mut more = gradients.clone();
            let mut of_part = Sums::default();
            let by = |given: &[f32]| {
                let (sums, by) = self.judged(batch, given, part, &totals);
                of_part = sums;
                by
            };
            match self.objective.method {
                Method::Reward => policy.learn_scores(batch, &mut more, self.recompute, by)?,
                _ => policy.learn(batch, &mut more, self.recompute, by)?,
            };
            gradients = more;
            sums.add(&of_part);
            Ok(())
        })?;
        let parameters = policy.parameters();
        Ok((sums, gradients.into_tensors(parameters.iter())?))
    }

    /// The loss of examples, without gradients; none once `stop` is set.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub fn judge(
        &self,
        policy: &Policy,
        examples: &[Known<'_>],
        stop: &AtomicBool,
    ) -> Result<Option<Sums>> {
        let totals = self.totals(examples);
        let mut sums = Sums::default();
        let all = self.each(examples, stop, |batch, part| {
            let given = match self.objective.method {
                Method::Reward => policy.scores(batch)?,
                _ => policy.logps(batch)?,
            };
            sums.add(&self.judged(batch, &given, part, &totals).0);
            Ok(())
        })?;
        Ok(all.then_some(sums))
    }

    fn judged(
        &self,
        batch: &Batch,
        given: &[f32],
        part: &[Known<'_>],
        totals: &Totals,
    ) -> (Sums, Vec<f32>) {
        if self.objective.method == Method::Reward {
            let targets: Vec<f64> = part.iter().map(|(example, _)| example.score).collect();
            return self.objective.of_scores(given, &targets, totals);
        }
        let fixed: Vec<Fixed> = part.iter().map(|(_, fixed)| **fixed).collect();
        self.objective.of(batch, given, &fixed, totals)
    }

    /// A reward model's number for each text.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub fn scores(&self, policy: &Policy, examples: &[Known<'_>]) -> Result<Vec<f32>> {
        let mut scores = Vec::new();
        self.each(examples, &NEVER, |batch, _| {
            scores.extend(policy.scores(batch)?);
            Ok(())
        })?;
        Ok(scores)
    }

    fn each(
        &self,
        examples: &[Known<'_>],
        stop: &AtomicBool,
        mut pass: impl FnMut(&Batch, &[Known<'_>]) -> candle_core::Result<()>,
    ) -> Result<bool> {
        let size = |(example, _): &Known<'_>| example.tokens();
        each(examples, &self.tokens, size, stop, |part| {
            Ok(pass(&self.batch(part), part)?)
        })
    }

    fn batch(&self, part: &[Known<'_>]) -> Batch {
        let mut batch = Batch::default();
        for (example, _) in part {
            batch.add(&example.chosen, self.objective.whole_chosen());
            if let Some(rejected) = &example.rejected {
                batch.add(rejected, false);
            }
        }
        batch
    }

    fn totals(&self, examples: &[Known<'_>]) -> Totals {
        let whole = self.objective.whole_chosen();
        let learnt = |(example, _): &Known<'_>| {
            let first = if whole {
                1
            } else {
                example.chosen.prompt.max(1)
            };
            example.chosen.ids.len().saturating_sub(first)
        };
        Totals {
            pairs: examples.len(),
            weights: examples.iter().map(|(_, fixed)| fixed.weight).sum(),
            chosen_tokens: examples.iter().map(learnt).sum(),
        }
    }
}

/// Runs `pass` over parts of the examples, of at most so many tokens each by `size`; where memory
/// runs out, over halves from then on. Ends early once `stop` is set; whether it went through all.
///
/// # Errors
/// When a pass fails, or the device has too little memory for a single example.
pub fn each<T>(
    examples: &[T],
    tokens: &Cell<usize>,
    size: impl Fn(&T) -> usize,
    stop: &AtomicBool,
    mut pass: impl FnMut(&[T]) -> Result<()>,
) -> Result<bool> {
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
            Ok(()) => rest = after,
            Err(Error::Candle(error)) if is_out_of_memory(&error) => {
                let held: usize = part.iter().map(&size).sum();
                if part.len() == 1 {
                    return Err(Error::source(
                        "train".as_ref(),
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

fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("out of memory") || text.contains("out_of_memory")
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
            &NEVER,
            |part| {
                if part.len() > 2 {
                    return Err(
                        candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".to_owned()).into(),
                    );
                }
                seen.push(part.len());
                Ok(())
            },
        );
        assert!(all.unwrap());
        assert_eq!((seen, tokens.get()), (vec![2, 2, 1], 20));
        let none = each(
            &[8],
            &tokens,
            |size| *size,
            &NEVER,
            |_| Err(candle_core::Error::Msg("out of memory".to_owned()).into()),
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
            &stop,
            |_| {
                seen += 1;
                stop.store(seen == 2, Ordering::Relaxed);
                Ok(())
            },
        );
        assert_eq!((all.unwrap(), seen), (false, 2));
    }
}
