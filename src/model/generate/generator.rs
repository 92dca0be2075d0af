//! What does a model write? Texts of a decoder, many at a time, each drawn by a seed of its own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chat::Chat;
use crate::decoder::kv_cache::KvCache;
use crate::decoder::{Decoder, Head};
use crate::device::DeviceSpec;
use crate::files::ModelFiles;
use crate::generate::sampling::SamplingParams;
use crate::lora::{Adapter, LinearWeight};
use crate::{Error, Result};
use polyphony_io::random::SplitMix64;

/// A decoder that writes.
#[derive(Debug)]
pub struct Generator {
    /// The decoder, its adapter merged or beside.
    pub decoder: Decoder<LinearWeight>,
    /// Its tokenizer and chat template.
    pub chat: Chat,
    /// The tokens at which a text ends.
    pub eos_token_ids: Vec<u32>,
    /// The model's name.
    pub name: String,
    /// What its files hold, and the adapter's.
    pub revision: String,
    /// Whether its adapter stays beside the weights.
    pub live: bool,
}

/// A text to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRequest {
    /// The tokens before it.
    pub prompt: Vec<u32>,
    /// Where its random numbers begin.
    pub seed: u64,
    /// How many tokens it has at most.
    pub most: usize,
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Its tokens, the one at which it ends left out.
    pub tokens: Vec<u32>,
    /// Whether it ended by itself.
    pub ended: bool,
}

impl Generator {
    /// Loads a model by folder or hub id, with an adapter's folder: merged into the weights, or live
    /// beside them, which keeps its f32 where weights are bf16 and costs two small products each.
    ///
    /// # Errors
    /// When a file is missing, or the adapter belongs to another model.
    pub fn load(
        model: &str,
        adapter: Option<&Path>,
        live: bool,
        place: DeviceSpec,
    ) -> Result<Self> {
        let files = ModelFiles::find_model(model)?;
        let adapter = adapter.map(Adapter::read).transpose()?;
        let device = place.open()?;
        let mut names = Vec::new();
        let decoder = Decoder::load(
            &files,
            Head::Words,
            place.precision(),
            &device,
            |name, weight| match &adapter {
                None => Ok(LinearWeight::Base(weight)),
                Some(adapter) => {
                    names.extend(adapter.names(name));
                    if live {
                        adapter.live(name, weight)
                    } else {
                        adapter.merged(name, weight).map(LinearWeight::Base)
                    }
                }
            },
        )?;
        let mut revision = files.revision()?;
        if let Some(adapter) = &adapter {
            adapter.all_used(&names)?;
            revision = format!("{revision}+{}", adapter.revision()?);
        }
        let chat = Chat::load(&files)?;
        Ok(Self {
            eos_token_ids: eos_token_ids(&files, &chat)?,
            name: files.name.clone(),
            decoder,
            chat,
            revision,
            live,
        })
    }

    /// Writes all tasks, up to `batch_size` at a time, until `stop` is set; `done` gets each with its
    /// number, in the order of the tasks. On the CPU a text depends on its task alone, not on those beside it.
    ///
    /// # Errors
    /// When the device fails, or `done` does.
    pub fn write(
        &self,
        tasks: &[GenerationRequest],
        sampling: &SamplingParams,
        batch_size: usize,
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize, Completion) -> Result<()>,
    ) -> Result<()> {
        let mut waiting = tasks.iter().enumerate().peekable();
        let mut running: Vec<Sequence<'_>> = Vec::new();
        let mut finished: Vec<Option<Completion>> = vec![None; tasks.len()];
        let mut next = 0;
        while waiting.peek().is_some() || !running.is_empty() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let room = batch_size.max(1) - running.len();
            let mut fresh: Vec<Sequence<'_>> = waiting
                .by_ref()
                .take(room)
                .map(|(number, task)| Sequence::new(number, task, self.decoder.layers.len()))
                .collect();
            let mut logits = Vec::new();
            if !running.is_empty() {
                let ids: Vec<u32> = running
                    .iter()
                    .filter_map(|text| text.ids.last().copied())
                    .collect();
                let mut caches: Vec<&mut KvCache> =
                    running.iter_mut().map(|text| &mut text.cache).collect();
                logits.extend(self.decoder.step(&ids, &mut caches)?);
            }
            if !fresh.is_empty() {
                let texts: Vec<&[u32]> = fresh
                    .iter()
                    .map(|text| text.task.prompt.as_slice())
                    .collect();
                let mut caches: Vec<&mut KvCache> =
                    fresh.iter_mut().map(|text| &mut text.cache).collect();
                logits.extend(self.decoder.read(&texts, &mut caches)?);
                running.extend(fresh);
            }
            let is_none = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
            if logits.iter().flatten().any(is_none) {
                return Err(Error::input(
                    &self.name,
                    "gives logits that are no numbers",
                    "check the model's weights, or compute in bf16 or f32",
                ));
            }
            for (text, logits) in running.iter_mut().zip(&mut logits) {
                text.take(logits, sampling, &self.eos_token_ids);
            }
            for text in running.extract_if(.., |text| text.over) {
                let number = text.number;
                finished[number] = Some(text.completions());
            }
            while let Some(text) = finished.get_mut(next).and_then(Option::take) {
                done(next, text)?;
                next += 1;
            }
        }
        Ok(())
    }
}

/// A text that is being written.
struct Sequence<'a> {
    number: usize,
    task: &'a GenerationRequest,
    ids: Vec<u32>,
    cache: KvCache,
    random: SplitMix64,
    ended: bool,
    over: bool,
}

impl<'a> Sequence<'a> {
    fn new(number: usize, task: &'a GenerationRequest, layers: usize) -> Self {
        Self {
            number,
            ids: task.prompt.clone(),
            cache: KvCache::new(layers),
            random: SplitMix64(task.seed),
            ended: false,
            over: false,
            task,
        }
    }

    /// Takes the next token.
    fn take(&mut self, logits: &mut [f32], sampling: &SamplingParams, eos_token_ids: &[u32]) {
        let token = sampling.next(logits, &self.ids, &mut self.random);
        self.ended = eos_token_ids.contains(&token);
        if !self.ended {
            self.ids.push(token);
        }
        self.over = self.ended || self.ids.len() - self.task.prompt.len() >= self.task.most;
    }

    fn completions(mut self) -> Completion {
        Completion {
            tokens: self.ids.split_off(self.task.prompt.len()),
            ended: self.ended,
        }
    }
}

/// The end tokens of `generation_config.json`, or of `config.json`, and the tokenizer's own.
fn eos_token_ids(files: &ModelFiles, chat: &Chat) -> Result<Vec<u32>> {
    let mut eos_token_ids: Vec<u32> = chat.end().into_iter().collect();
    for file in ["generation_config.json", "config.json"] {
        let given = files.json(file)?.unwrap_or_default();
        let given = &given["eos_token_id"];
        let several = given.as_array().into_iter().flatten();
        let ids: Vec<u32> = several
            .chain([given])
            .filter_map(|id| u32::try_from(id.as_u64()?).ok())
            .collect();
        if !ids.is_empty() {
            eos_token_ids.extend(ids);
            break;
        }
    }
    eos_token_ids.sort_unstable();
    eos_token_ids.dedup();
    if eos_token_ids.is_empty() {
        return Err(Error::input(
            &files.name,
            "does not say at which token a text ends",
            "add eos_token_id to its generation_config.json",
        ));
    }
    Ok(eos_token_ids)
}
