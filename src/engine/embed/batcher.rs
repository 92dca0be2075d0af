//! How do many queries share one model? A queue a model, and a thread that empties it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Embedded;
use super::trained::ModelPool;
use crate::{Error, Result};

/// So many requests wait at most: who asks more waits with its batch.
const QUEUE: usize = 16;
/// Requests are joined up to this many texts, so that texts of like length meet.
const TEXTS: usize = 16_384;

/// The way to a model that others use too: partitions of a query wait side by side while the
/// model works on texts of all of them.
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
    /// Starts the thread that works for a model; it ends when the last handle is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(model: Arc<ModelPool>) -> Result<Self> {
        let (queue, requests) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("embed".to_owned())
            .spawn(move || serve(&model, &requests))
            .map_err(Error::io("start a thread for", "embed".as_ref()))?;
        Ok(Self { queue })
    }

    /// The vectors of texts, one after another. Waits; a runtime's other work goes on meanwhile.
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
            Err(Error::Device {
                name: "of a model".to_owned(),
                message: "it failed without an answer".to_owned(),
                hint: "run again; if it fails again, report what it said".to_owned(),
            })
        })
    }
}

/// Empties the queue until nobody can ask any more.
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
        // A panic answers nobody, who hear so, and leaves the thread to the next who ask.
        let answered = std::panic::AssertUnwindSafe(|| answer(model, joined));
        drop(std::panic::catch_unwind(answered));
    }
}

/// Answers requests together; where that fails, one by one, so that each hears its own error.
fn answer(model: &ModelPool, requests: Vec<Request>) {
    let texts = requests.iter().flat_map(|request| &request.texts);
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    match model.embed(&texts, &|_, _| ()) {
        Ok(Embedded { vectors, .. }) => {
            let mut rest = vectors.as_slice();
            for request in requests {
                let (mine, after) = rest.split_at(request.texts.len() * model.model().dimension);
                rest = after;
                // Who asked may have gone away, as a cancelled query does.
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
