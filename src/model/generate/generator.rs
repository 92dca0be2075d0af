//! Generator: text generation by continuous batching of many sequences over one decoder, each with its own KV
//! cache and random seed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chat::Chat;
use crate::decoder::kv_cache::KvCache;
use crate::decoder::{Decoder, Head, Projection};
use crate::device::DeviceSpec;
use crate::files::ModelFiles;
use crate::generate::sampling::SamplingParams;
use crate::lora::{Adapter, LinearWeight};
use crate::{Error, Result};
use polyphony_io::random::SplitMix64;

/// A decoder, its tokenizer and its EOS tokens: a model that generates text.
#[derive(Debug)]
pub struct Generator {
    /// The decoder, with its LoRA adapter.
    pub decoder: Decoder<LinearWeight>,
    /// Tokenizer and chat template.
    pub chat: Chat,
    /// EOS token ids, sorted: the tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The model's name.
    pub name: String,
    /// The revision of the model's files and of the adapter's files.
    pub revision: String,
    /// How the adapter is applied.
    pub adapter_options: AdapterOptions,
}

/// How a LoRA adapter is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdapterOptions {
    /// Merged into the weights or not.
    pub mode: AdapterMode,
    /// The factor of the adapter's update: 0 is the base model, 1 the adapter as it was trained.
    pub scale: f64,
}

impl Default for AdapterOptions {
    /// Merged, as it was trained.
    fn default() -> Self {
        Self {
            mode: AdapterMode::Merged,
            scale: 1.0,
        }
    }
}

/// The way in which a LoRA adapter is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterMode {
    /// Merged into the weights.
    Merged,
    /// Not merged: two small matrix products per projection, in f32 where weights are bf16. Slower, but the
    /// adapter is not rounded to bf16.
    Unmerged,
}

/// A generation request: one text to be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRequest {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Random seed of its sampling.
    pub seed: u64,
    /// Maximum number of new tokens.
    pub max_new_tokens: usize,
}

/// A completion: one generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Token ids, without the EOS token.
    pub tokens: Vec<u32>,
    /// The reason why generation ended.
    pub finish_reason: FinishReason,
}

/// Finish reason, with the names of vLLM and the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model generated an EOS token.
    Stop,
    /// The maximum number of tokens was reached.
    Length,
}

impl FinishReason {
    /// `stop` or `length`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

impl Generator {
    /// Loads a model by folder or hub id, with an adapter from a PEFT folder, if any.
    ///
    /// # Errors
    /// When a file is missing or invalid, or the adapter belongs to another base model.
    #[tracing::instrument(name = "load_generator", skip(spec), fields(device = %spec))]
    pub fn load(
        model: &str,
        adapter: Option<&Path>,
        adapter_options: AdapterOptions,
        spec: DeviceSpec,
    ) -> Result<Self> {
        let files = ModelFiles::find_model(model)?;
        let adapter = adapter.map(Adapter::read).transpose()?;
        let adapter = adapter.map(|adapter| adapter.with_scale(adapter_options.scale));
        let device = spec.open()?;
        let decoder = Decoder::load(
            &files,
            Head::Lm,
            spec.dtype(),
            &device,
            |path, weight| match (&adapter, adapter_options.mode) {
                (None, _) => Ok(LinearWeight::Base(weight)),
                (Some(adapter), AdapterMode::Merged) => {
                    adapter.merge(path, weight).map(LinearWeight::Base)
                }
                (Some(adapter), AdapterMode::Unmerged) => adapter.unmerged(path, weight),
            },
        )?;
        let mut revision = files.revision()?;
        if let Some(adapter) = &adapter {
            adapter.refuse_unused(decoder.layers.len(), Head::Lm)?;
            revision = format!("{revision}+{}", adapter.revision()?);
        }
        let chat = Chat::load(&files)?;
        Ok(Self {
            eos_token_ids: eos_token_ids(&files, &chat)?,
            name: files.name.clone(),
            decoder,
            chat,
            revision,
            adapter_options,
        })
    }

    /// Generates all requests, see [`generate`].
    ///
    /// # Errors
    /// As [`generate`].
    #[tracing::instrument(skip_all, fields(requests = requests.len(), batch_size))]
    pub fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &SamplingParams,
        batch_size: usize,
        stop: &AtomicBool,
        on_completion: &mut dyn FnMut(usize, Completion) -> Result<()>,
    ) -> Result<()> {
        let source = TokenSource {
            decoder: &self.decoder,
            eos_token_ids: &self.eos_token_ids,
            name: &self.name,
        };
        generate(&source, requests, sampling, batch_size, stop, on_completion)
    }
}

/// A decoder that tokens are sampled from.
#[derive(Debug)]
pub struct TokenSource<'a, P> {
    /// The decoder.
    pub decoder: &'a Decoder<P>,
    /// EOS token ids, sorted.
    pub eos_token_ids: &'a [u32],
    /// The model's name, for errors.
    pub name: &'a str,
}

/// Generates all requests, up to `batch_size` at a time, until `stop` is set; `on_completion` gets each
/// with its index, in the order of the requests. On the CPU a text does not depend on the batch size.
///
/// # Errors
/// When the device fails, a logit is NaN or +inf, or `on_completion` fails.
pub fn generate<P: Projection>(
    source: &TokenSource<'_, P>,
    requests: &[GenerationRequest],
    sampling: &SamplingParams,
    batch_size: usize,
    stop: &AtomicBool,
    on_completion: &mut dyn FnMut(usize, Completion) -> Result<()>,
) -> Result<()> {
    let TokenSource {
        decoder,
        eos_token_ids,
        name,
    } = *source;
    let mut waiting = requests.iter().enumerate().peekable();
    let mut running: Vec<Sequence<'_>> = Vec::new();
    let mut finished: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut next = 0;
    while waiting.peek().is_some() || !running.is_empty() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let room = batch_size.max(1) - running.len();
        let mut admitted: Vec<Sequence<'_>> = waiting
            .by_ref()
            .take(room)
            .map(|(number, request)| Sequence::new(number, request, decoder.layers.len()))
            .collect();
        let mut logits = Vec::new();
        if !running.is_empty() {
            logits.extend(decode_step(decoder, &mut running)?);
        }
        if !admitted.is_empty() {
            logits.extend(prefill(decoder, &mut admitted)?);
            running.extend(admitted);
        }
        let is_invalid = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
        if let Some(logit) = logits.iter().flatten().find(|logit| is_invalid(logit)) {
            return Err(Error::input(
                name,
                format!("the model gives a logit of {logit}"),
                "check the model's weights, or compute in bf16 or f32",
            ));
        }
        for (sequence, logits) in running.iter_mut().zip(&mut logits) {
            sequence.sample_next(logits, sampling, eos_token_ids);
        }
        for sequence in running.extract_if(.., |sequence| sequence.finish_reason.is_some()) {
            let number = sequence.number;
            finished[number] = sequence.into_completion();
        }
        // Completions are passed on in the order of the requests, whichever finishes first.
        while let Some(completion) = finished.get_mut(next).and_then(Option::take) {
            on_completion(next, completion)?;
            next += 1;
        }
    }
    Ok(())
}

/// Decode step: the logits of each sequence's next token, V values each.
#[tracing::instrument(level = "trace", skip_all, fields(sequences = sequences.len()))]
fn decode_step<P: Projection>(
    decoder: &Decoder<P>,
    sequences: &mut [Sequence<'_>],
) -> Result<Vec<Vec<f32>>> {
    let last = sequences.iter().filter_map(|s| s.ids.last().copied());
    let last: Vec<u32> = last.collect();
    let mut caches: Vec<&mut KvCache> = sequences.iter_mut().map(|s| &mut s.cache).collect();
    Ok(decoder.decode_step(&last, &mut caches)?)
}

/// Prefill: the logits of each sequence's first new token, V values each.
#[tracing::instrument(level = "debug", skip_all, fields(sequences = sequences.len()))]
fn prefill<P: Projection>(
    decoder: &Decoder<P>,
    sequences: &mut [Sequence<'_>],
) -> Result<Vec<Vec<f32>>> {
    let prompts = sequences.iter().map(|s| s.request.prompt.as_slice());
    let prompts: Vec<&[u32]> = prompts.collect();
    let mut caches: Vec<&mut KvCache> = sequences.iter_mut().map(|s| &mut s.cache).collect();
    Ok(decoder.prefill(&prompts, &mut caches)?)
}

/// A sequence of the running batch.
struct Sequence<'a> {
    /// The index of the request.
    number: usize,
    request: &'a GenerationRequest,
    /// Token ids of the prompt and of the text so far.
    ids: Vec<u32>,
    cache: KvCache,
    random: SplitMix64,
    finish_reason: Option<FinishReason>,
}

impl<'a> Sequence<'a> {
    /// A sequence with an empty KV cache, before prefill.
    fn new(number: usize, request: &'a GenerationRequest, layers: usize) -> Self {
        Self {
            number,
            ids: request.prompt.clone(),
            cache: KvCache::new(layers),
            random: SplitMix64(request.seed),
            finish_reason: None,
            request,
        }
    }

    /// Samples the next token from V logits and appends it.
    fn sample_next(&mut self, logits: &mut [f32], sampling: &SamplingParams, eos: &[u32]) {
        let token = sampling.next_token(logits, &self.ids, &mut self.random);
        if eos.contains(&token) {
            self.finish_reason = Some(FinishReason::Stop);
            return;
        }
        self.ids.push(token);
        if self.ids.len() - self.request.prompt.len() >= self.request.max_new_tokens {
            self.finish_reason = Some(FinishReason::Length);
        }
    }

    /// The completion of a finished sequence.
    fn into_completion(mut self) -> Option<Completion> {
        Some(Completion {
            tokens: self.ids.split_off(self.request.prompt.len()),
            finish_reason: self.finish_reason?,
        })
    }
}

/// EOS token ids: those of `generation_config.json`, or else of `config.json`, plus that of the tokenizer; sorted.
///
/// # Errors
/// When a file cannot be read, or the model has no EOS token.
pub fn eos_token_ids(files: &ModelFiles, chat: &Chat) -> Result<Vec<u32>> {
    let mut eos_token_ids: Vec<u32> = chat.eos_token_id().into_iter().collect();
    for file in ["generation_config.json", "config.json"] {
        let config = files.read_json(file)?.unwrap_or_default();
        let value = &config["eos_token_id"];
        let several = value.as_array().into_iter().flatten();
        let ids: Vec<u32> = several
            .chain([value])
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
            "has no EOS token",
            "add eos_token_id to its generation_config.json",
        ));
    }
    Ok(eos_token_ids)
}
