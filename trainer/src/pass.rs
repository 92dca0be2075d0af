//! How does a step's batch go through the model? In passes of so many tokens, smaller ones where
//! memory runs out.

use std::cell::Cell;

use candle_core::Tensor;
use polyphony_engine::{Error, Result};

use crate::batch::Batch;
use crate::data::Example;
use crate::lora::Gradients;
use crate::objective::{Fixed, Method, Objective, Sums, Totals};
use crate::policy::Policy;
use crate::reference::by_tokens;

/// An example, and what does not change about it.
type Known<'a> = (&'a Example, &'a Fixed);

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
        self.each(examples, |batch, part| {
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

    /// The loss of examples, without gradients.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub fn judge(&self, policy: &Policy, examples: &[Known<'_>]) -> Result<Sums> {
        let totals = self.totals(examples);
        let mut sums = Sums::default();
        self.each(examples, |batch, part| {
            let given = match self.objective.method {
                Method::Reward => policy.scores(batch)?,
                _ => policy.logps(batch)?,
            };
            sums.add(&self.judged(batch, &given, part, &totals).0);
            Ok(())
        })?;
        Ok(sums)
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
        self.each(examples, |batch, _| {
            scores.extend(policy.scores(batch)?);
            Ok(())
        })?;
        Ok(scores)
    }

    /// Runs `pass` over parts of the examples; where memory runs out, over halves from then on.
    fn each(
        &self,
        examples: &[Known<'_>],
        mut pass: impl FnMut(&Batch, &[Known<'_>]) -> candle_core::Result<()>,
    ) -> Result<()> {
        let mut rest = examples;
        while !rest.is_empty() {
            let sizes = rest.iter().map(|(example, _)| example.tokens());
            let first = by_tokens(sizes, self.tokens.get()).swap_remove(0).end;
            let (part, after) = rest.split_at(first);
            match pass(&self.batch(part), part) {
                Ok(()) => rest = after,
                Err(error) if is_out_of_memory(&error) => {
                    let tokens: usize = part.iter().map(|(example, _)| example.tokens()).sum();
                    if part.len() == 1 {
                        return Err(Error::source(
                            "train".as_ref(),
                            format!(
                                "the device has too little memory for one pair of {tokens} tokens"
                            ),
                            "use --recompute, a smaller --max-length, or a smaller model",
                        ));
                    }
                    self.tokens.set(tokens / 2);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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

fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("out of memory") || text.contains("out_of_memory")
}
