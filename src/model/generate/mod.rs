//! Text generation: a decoder with a KV cache, logits processors and sampling, and the job that writes a file
//! of completions; requests for an API that generates instead, and its responses.

pub mod batch;
pub mod config;
mod generator;
#[cfg(test)]
mod golden;
pub mod job;
pub mod output;
pub mod prompting;
pub mod prompts;
pub mod row;
pub mod sampling;
pub mod verbalized;

pub use generator::{
    AdapterMode, AdapterOptions, Completion, FinishReason, GenerationRequest, Generator,
    TokenSource, eos_token_ids, generate,
};
