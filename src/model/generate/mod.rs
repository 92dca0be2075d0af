//! Text generation: a decoder with a KV cache, logits processors and sampling, and the job that writes a file
//! of completions.

mod generator;
#[cfg(test)]
mod golden;
pub mod job;
pub mod prompts;
pub mod sampling;

pub use generator::{AdapterMode, Completion, FinishReason, GenerationRequest, Generator};
