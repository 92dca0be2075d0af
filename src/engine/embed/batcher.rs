//! Batcher: many queries share one embedding model through a request queue and a worker thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Embedded;
use super::model_pool::ModelPool;
use crate::{Error, Result};

/// The maximum number of queued requests. Further callers block until there is room (backpressure).
const QUEUE: usize = 16;
/// The maximum number of texts in one joined request: texts of similar length are then batched with
/// little padding.
const TEXTS: usize = 16_384;

/// A handle to a shared model. Partitions of a query send their texts concurrently, and the model
/// embeds texts of all of them together.
#[derive(Debug, Clone)]
pub struct Batcher {
    queue: SyncSender<Request>,
}

#[derive(Debug)]
struct Request {
    texts: Vec<String>,
    answer: SyncSender<Result<Vec<f32>>>,
}

impl Batcher {
    /// Starts the model's worker thread; it ends when the last handle is dropped.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(model: Arc<ModelPool>) -> Result<Self> {
        let (queue, requests) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("embed".to_owned())
            .spawn(move || serve(&model, &requests))
            .map_err(Error::io("start a thread for", "embed".as_ref()))?;
        Ok(Self { queue })
    }

    /// The vectors of texts, concatenated in order. Blocks the caller, but not the async runtime's
    /// other tasks.
    ///
    /// # Errors
    /// When the model fails.
    pub fn embed(&self, texts: Vec<String>) -> Result<Vec<f32>> {
        let wait = || {
            let (answer, answered) = sync_channel(1);
            let sent = self.queue.send(Request { texts, answer });
            sent.ok().and_then(|()| answered.recv().ok())
        };
        let answered = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        };
        answered.unwrap_or_else(|| {
            Err(Error::Internal(
                "the embedder's thread panicked while it embedded these texts".to_owned(),
            ))
        })
    }
}

/// Worker loop: answers requests until all handles are dropped.
fn serve(model: &ModelPool, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut texts = first.texts.len();
        let mut joined = vec![first];
        while texts < TEXTS
            && let Ok(request) = requests.try_recv()
        {
            texts += request.texts.len();
            joined.push(request);
        }
        // A panic drops the requests, whose callers then get an error; the thread serves later
        // requests.
        let answered = std::panic::AssertUnwindSafe(|| answer(model, joined));
        drop(std::panic::catch_unwind(answered));
    }
}

/// Answers requests in one joined call; if that fails, one by one, so that each caller gets its own
/// error.
fn answer(model: &ModelPool, requests: Vec<Request>) {
    let texts = requests.iter().flat_map(|request| &request.texts);
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    match model.embed(&texts, &|_, _| ()) {
        Ok(Embedded { vectors, .. }) => {
            let mut rest = vectors.as_slice();
            for request in requests {
                let (mine, after) = rest.split_at(request.texts.len() * model.model().dimension);
                rest = after;
                // Sending fails when the caller is gone, as after a cancelled query.
                drop(request.answer.send(Ok(mine.to_vec())));
            }
        }
        Err(_) if requests.len() > 1 => {
            for request in requests {
                answer(model, vec![request]);
            }
        }
        Err(error) => {
            if let Some(request) = requests.into_iter().next() {
                drop(request.answer.send(Err(error)));
            }
        }
    }
}
