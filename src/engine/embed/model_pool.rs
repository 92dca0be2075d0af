//! Model pool: embeds texts with a trained model, sorted by length, in batches with a token budget.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Embedded;
use crate::{Error, Result};
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::sentence::SentenceEncoder;
use polyphony_model::encoder::text_tokenizer::{LongTexts, Tokenized};
use polyphony_model::memory::is_oom;

/// The batch size on a CPU in tokens, padding included: the activations then fit the caches.
const CPU_BUDGET: usize = 8192;
/// The batch size on a GPU in tokens, padding included.
const GPU_BUDGET: usize = 65_536;

/// The bounds of the default shard size in texts.
const LEAST_A_SHARD: usize = 128;
const MOST_A_SHARD: usize = 8192;

/// A trained model on one or more devices. Each device has a copy of the model and takes batches from
/// one queue.
#[derive(Debug)]
pub struct ModelPool {
    workers: Arc<[SentenceEncoder]>,
    /// How texts are read that are longer than the model's maximum.
    long_texts: LongTexts,
    /// The revision of the vectors, see [`Self::revision`].
    revision: String,
    /// The current batch size in tokens, padding included; halved when memory runs out.
    budget: AtomicUsize,
    /// The initial batch size in tokens.
    first_budget: usize,
}

impl ModelPool {
    /// Loads the model on every device.
    ///
    /// # Errors
    /// As [`SentenceEncoder::load`].
    pub fn load(name: &str, devices: &[DeviceSpec], long_texts: LongTexts) -> Result<Self> {
        let workers = devices
            .iter()
            .map(|device| SentenceEncoder::load(name, *device))
            .collect::<Result<Arc<[_]>>>()?;
        let first_budget = match devices.first() {
            Some(DeviceSpec::Cuda(..)) => GPU_BUDGET,
            _ => CPU_BUDGET,
        };
        Ok(Self::new(workers, first_budget, long_texts))
    }

    fn new(workers: Arc<[SentenceEncoder]>, first_budget: usize, long_texts: LongTexts) -> Self {
        let of_model = &workers[0].revision;
        Self {
            revision: match long_texts {
                LongTexts::Truncate => of_model.clone(),
                // Vectors of both kinds must not be mixed in a store.
                LongTexts::Mean => format!("{of_model}-{}", long_texts.name()),
            },
            workers,
            long_texts,
            budget: AtomicUsize::new(first_budget),
            first_budget,
        }
    }

    /// The same models, with another treatment of long texts.
    #[must_use]
    pub fn with_long_texts(&self, long_texts: LongTexts) -> Self {
        Self::new(Arc::clone(&self.workers), self.first_budget, long_texts)
    }

    /// The model on the first device.
    pub fn model(&self) -> &SentenceEncoder {
        &self.workers[0]
    }

    /// How texts are read that are longer than the model's maximum.
    pub fn long_texts(&self) -> LongTexts {
        self.long_texts
    }

    /// The revision of the vectors: the model's, followed by `-mean` for [`LongTexts::Mean`].
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The default shard size in texts: a killed job loses about a minute of work. A few minutes for
    /// large models, where a minute would leave thousands of small parts.
    pub fn default_shard_size(&self) -> usize {
        /// Texts times parameters that a CPU processes in about a minute.
        const WORK: usize = 10_000_000_000;
        if self.first_budget == GPU_BUDGET {
            return MOST_A_SHARD;
        }
        (WORK / self.model().parameters().max(1)).clamp(LEAST_A_SHARD, MOST_A_SHARD)
    }

    /// The vectors of texts. `done` is called after each batch with its numbers of texts and tokens.
    ///
    /// # Errors
    /// When a text is invalid, a device fails, or a single text does not fit its memory.
    pub fn embed(&self, texts: &[&str], done: &(dyn Fn(usize, usize) + Sync)) -> Result<Embedded> {
        let tokenized = self.model().tokenize(texts, self.long_texts)?;
        self.embed_tokens(tokenized, done)
    }

    /// [`Self::embed`] of tokenized texts.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_tokens(
        &self,
        texts: Tokenized,
        done: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Embedded> {
        let firsts = first_windows(&texts);
        let dimension = self.model().dimension;
        let vectors = Mutex::new(vec![0.0; texts.ids.len() * dimension]);
        // The longest windows go first, so that insufficient memory shows at the start of the job.
        let mut order: Vec<usize> = (0..texts.ids.len()).collect();
        order.sort_by_key(|&window| std::cmp::Reverse(texts.ids[window].len()));
        let rest = Mutex::new(order.as_slice());
        let next = || {
            let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            let longest = texts.ids[*rest.first()?].len().max(1);
            let max_windows = self.budget.load(Ordering::Relaxed) / longest;
            let (batch, after) = rest.split_at(max_windows.clamp(1, rest.len()));
            *rest = after;
            Some(batch)
        };
        let work = |worker: &SentenceEncoder| -> Result<()> {
            while let Some(batch) = next() {
                let outcome = self.one_batch(worker, &texts, batch, &|window, vector| {
                    let mut vectors = vectors.lock().unwrap_or_else(PoisonError::into_inner);
                    vectors[window * dimension..][..dimension].copy_from_slice(vector);
                });
                if outcome.is_err() {
                    // The job has failed: empty the queue so that the other devices stop.
                    *rest.lock().unwrap_or_else(PoisonError::into_inner) = &[];
                }
                outcome?;
                // A text counts with its first window.
                let new_texts = batch.iter().filter(|&&window| firsts[window]).count();
                let tokens = batch.iter().map(|&window| texts.ids[window].len());
                done(new_texts, tokens.sum());
            }
            Ok(())
        };
        match &*self.workers {
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
        let vectors = vectors.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Embedded {
            vectors: self.model().join_windows(&texts, vectors),
            texts: texts.texts,
        })
    }

    /// The batch size in tokens after out-of-memory errors reduced it; `None` if it was not reduced.
    pub fn reduced_budget(&self) -> Option<usize> {
        let budget = self.budget.load(Ordering::Relaxed);
        (budget < self.first_budget).then_some(budget)
    }

    /// Runs a batch; splits it in halves when memory runs out.
    fn one_batch(
        &self,
        worker: &SentenceEncoder,
        texts: &Tokenized,
        batch: &[usize],
        keep: &dyn Fn(usize, &[f32]),
    ) -> Result<()> {
        let ids = |window: &usize| texts.ids[*window].as_slice();
        let last = Cell::new(0);
        let mut run = |part: &[usize]| {
            last.set(ids(&part[0]).len());
            let rows = worker.embed(&part.iter().map(ids).collect::<Vec<_>>())?;
            if rows.iter().any(|value| !value.is_finite()) {
                let hint = "check the weights, or run with --device cpu";
                return Err(failed(worker, "a vector is not finite".to_owned(), hint));
            }
            let rows = rows.chunks_exact(worker.dimension);
            part.iter()
                .zip(rows)
                .for_each(|(&window, row)| keep(window, row));
            Ok(())
        };
        let done = in_halves(batch, &mut run, &|part| {
            // The batch is sorted by length, the longest first.
            let tokens = ids(&part[0]).len() * part.len();
            self.budget.fetch_min(tokens / 2, Ordering::Relaxed);
        });
        done.map_err(|error| match error {
            Error::Candle(cause) if is_oom(&cause) => {
                let tokens = last.get();
                let message = format!("has too little memory for one text of {tokens} tokens");
                let hint = "free memory there, choose a smaller model, or run with --device cpu";
                failed(worker, message, hint)
            }
            error => error,
        })
    }
}

/// Whether each window is the first of its text.
fn first_windows(texts: &Tokenized) -> Vec<bool> {
    let mut firsts = vec![false; texts.ids.len()];
    let mut at = 0;
    for text in &texts.texts {
        firsts[at] = true;
        at += text.windows;
    }
    firsts
}

/// Runs a batch. When memory runs out, it runs the two halves instead, recursively down to one text;
/// `shrink` is called with each batch that was too large.
fn in_halves(
    batch: &[usize],
    run: &mut dyn FnMut(&[usize]) -> Result<()>,
    shrink: &dyn Fn(&[usize]),
) -> Result<()> {
    match run(batch) {
        Err(Error::Candle(error)) if batch.len() > 1 && is_oom(&error) => {
            shrink(batch);
            let (first, second) = batch.split_at(batch.len() / 2);
            in_halves(first, run, shrink)?;
            in_halves(second, run, shrink)
        }
        done => done,
    }
}

fn failed(worker: &SentenceEncoder, message: String, hint: &str) -> Error {
    Error::input(&worker.name, message, hint)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::fixtures;

    #[test]
    fn several_devices_give_the_same_vectors_as_one() {
        let texts: Vec<String> = (0..40)
            .map(|at| "a tale of ships ".repeat(1 + at % 9 * 8))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = |devices: &[DeviceSpec]| {
            let model = fixtures::model("minilm_bert");
            let trained = ModelPool::load(&model, devices, LongTexts::Mean).unwrap();
            // Small batches, so that each device gets some.
            trained.budget.store(64, Ordering::Relaxed);
            let counted = AtomicUsize::new(0);
            let count = |texts: usize, _: usize| {
                counted.fetch_add(texts, Ordering::Relaxed);
            };
            let embedded = trained.embed(&texts, &count).unwrap();
            assert_eq!(counted.into_inner(), texts.len());
            embedded.vectors
        };
        assert_eq!(vectors(&[DeviceSpec::Cpu; 3]), vectors(&[DeviceSpec::Cpu]));
    }

    #[test]
    fn batches_are_halved_when_memory_runs_out() {
        let (mut done, too_large) = (Vec::new(), RefCell::new(Vec::new()));
        let full = || {
            Error::from(candle_core::Error::Msg(
                "CUDA_ERROR_OUT_OF_MEMORY".to_owned(),
            ))
        };
        let mut run = |part: &[usize]| {
            if part.len() > 2 {
                return Err(full());
            }
            done.push(part.to_vec());
            Ok(())
        };
        let shrink = |part: &[usize]| too_large.borrow_mut().push(part.len());
        in_halves(&[4, 3, 2, 1, 0], &mut run, &shrink).unwrap();
        assert_eq!(done, [vec![4, 3], vec![2], vec![1, 0]]);
        assert_eq!(too_large.into_inner(), [5, 3]);
        assert!(in_halves(&[7], &mut |_| Err(full()), &|_| ()).is_err());
    }
}
