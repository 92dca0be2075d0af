//! Text generation: a decoder with a KV cache, logits processors and samplers, and the job that writes a file of completions.

mod generator;
#[cfg(test)]
mod golden;
pub mod job;
pub mod prompts;
pub mod sampling;

pub use generator::{Completion, GenerationRequest, Generator};
