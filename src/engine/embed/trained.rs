//! How do many texts go through a trained model? Sorted by length, in batches by a token budget.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Embedded;
use crate::model::device::Place;
use crate::model::memory::ran_out;
use crate::model::sentence::{SentenceEncoder, Tokenized};
use crate::{Error, Result};

/// So many tokens are in one batch on the CPU: their activations stay near the caches.
const CPU_BUDGET: usize = 8192;
/// So many are on a GPU.
const GPU_BUDGET: usize = 65_536;

/// The least and the most texts of a shard.
const LEAST_A_SHARD: usize = 128;
const MOST_A_SHARD: usize = 8192;

/// A trained model on one device or several: each holds the whole model and takes batches.
#[derive(Debug)]
pub struct Trained {
    workers: Vec<SentenceEncoder>,
    /// How many tokens go into a batch, padding counted.
    budget: AtomicUsize,
    /// What it started with.
    first_budget: usize,
}

impl Trained {
    /// Loads a model on every device given.
    ///
    /// # Errors
    /// As [`SentenceEncoder::load`].
    pub fn load(name: &str, places: &[Place]) -> Result<Self> {
        let workers = places
            .iter()
            .map(|place| SentenceEncoder::load(name, *place))
            .collect::<Result<_>>()?;
        let first_budget = match places.first() {
            Some(Place::Cuda(..)) => GPU_BUDGET,
            _ => CPU_BUDGET,
        };
        Ok(Self {
            workers,
            budget: AtomicUsize::new(first_budget),
            first_budget,
        })
    }

    /// The model, as the first device holds it.
    pub fn model(&self) -> &SentenceEncoder {
        &self.workers[0]
    }

    /// How many texts make a shard of a long job, so that a killed one loses about a minute,
    /// or a few where that would leave thousands of little parts.
    pub fn texts_a_shard(&self) -> usize {
        /// So many texts times parameters take a CPU about that long.
        const WORK: usize = 10_000_000_000;
        if self.first_budget == GPU_BUDGET {
            return MOST_A_SHARD;
        }
        (WORK / self.model().parameters().max(1)).clamp(LEAST_A_SHARD, MOST_A_SHARD)
    }

    /// The vectors of texts. `done` hears of the texts and tokens of each batch that is through.
    ///
    /// # Errors
    /// When a text is refused, a device fails, or has too little memory for a single text.
    pub fn embed(&self, texts: &[&str], done: &(dyn Fn(usize, usize) + Sync)) -> Result<Embedded> {
        let tokenized = self.model().tokenize(texts)?;
        self.embed_tokens(&tokenized, done)
    }

    /// [`Self::embed`] of texts that are tokens already.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_tokens(
        &self,
        texts: &Tokenized,
        done: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Embedded> {
        let dimension = self.model().dimension;
        let vectors = Mutex::new(vec![0.0; texts.ids.len() * dimension]);
        // The longest go first: whether the memory suffices shows at once.
        let mut order: Vec<usize> = (0..texts.ids.len()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(texts.ids[text].len()));
        let rest = Mutex::new(order.as_slice());
        let next = || {
            let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            let longest = texts.ids[*rest.first()?].len().max(1);
            let most = self.budget.load(Ordering::Relaxed) / longest;
            let (batch, after) = rest.split_at(most.clamp(1, rest.len()));
            *rest = after;
            Some(batch)
        };
        let work = |worker: &SentenceEncoder| -> Result<()> {
            while let Some(batch) = next() {
                let made = self.one_batch(worker, texts, batch, &|text, vector| {
                    let mut vectors = vectors.lock().unwrap_or_else(PoisonError::into_inner);
                    vectors[text * dimension..][..dimension].copy_from_slice(vector);
                });
                if made.is_err() {
                    // What is lost is lost: other devices need not go on.
                    *rest.lock().unwrap_or_else(PoisonError::into_inner) = &[];
                }
                made?;
                done(
                    batch.len(),
                    batch.iter().map(|&text| texts.ids[text].len()).sum(),
                );
            }
            Ok(())
        };
        match self.workers.as_slice() {
            [only] => work(only)?,
            several => std::thread::scope(|scope| {
                let threads: Vec<_> = several
                    .iter()
                    .map(|worker| scope.spawn(|| work(worker)))
                    .collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| match thread.join() {
                        Ok(result) => result,
                        Err(panic) => std::panic::resume_unwind(panic),
                    })
            })?,
        }
        Ok(Embedded {
            vectors: vectors.into_inner().unwrap_or_else(PoisonError::into_inner),
            tokens: texts.tokens,
            truncated: texts.truncated,
        })
    }

    /// The budget that is left when a device ran out of memory; none when it never did.
    pub fn reduced_budget(&self) -> Option<usize> {
        let budget = self.budget.load(Ordering::Relaxed);
        (budget < self.first_budget).then_some(budget)
    }

    /// Runs a batch; where the memory does not suffice, its halves, and smaller ones from then on.
    fn one_batch(
        &self,
        worker: &SentenceEncoder,
        texts: &Tokenized,
        batch: &[usize],
        keep: &dyn Fn(usize, &[f32]),
    ) -> Result<()> {
        let ids: Vec<&[u32]> = batch
            .iter()
            .map(|&text| texts.ids[text].as_slice())
            .collect();
        match worker.embed(&ids) {
            Ok(rows) if rows.iter().any(|value| !value.is_finite()) => Err(failed(
                worker,
                "a vector is not finite".to_owned(),
                "check the weights, or run with --device cpu",
            )),
            Ok(rows) => {
                let rows = rows.chunks_exact(worker.dimension);
                batch
                    .iter()
                    .zip(rows)
                    .for_each(|(&text, row)| keep(text, row));
                Ok(())
            }
            Err(error) if batch.len() > 1 && ran_out(&error) => {
                let tokens = ids[0].len() * batch.len();
                self.budget.fetch_min(tokens / 2, Ordering::Relaxed);
                let (first, second) = batch.split_at(batch.len() / 2);
                self.one_batch(worker, texts, first, keep)?;
                self.one_batch(worker, texts, second, keep)
            }
            Err(error) if ran_out(&error) => Err(failed(
                worker,
                format!(
                    "has too little memory for one text of {} tokens",
                    ids[0].len()
                ),
                "free memory there, choose a smaller model, or run with --device cpu",
            )),
            Err(error) => Err(error.into()),
        }
    }
}

fn failed(worker: &SentenceEncoder, problem: String, remedy: &str) -> Error {
    Error::source(worker.name.as_ref(), problem, remedy)
}
