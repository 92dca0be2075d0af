//! Models: loading from a folder or the hub, encoders and decoders, LoRA adapters, reward models, text
//! generation; forward passes only.

mod cache;
/// Chat templates.
pub mod chat;
/// Decoder-only transformers: the forward pass and the KV cache.
pub mod decoder;
/// Devices and precisions.
pub mod device;
/// Encoder transformers and sentence embeddings.
pub mod encoder;
/// Model folders and their files.
pub mod files;
/// Text generation.
pub mod generate;
/// GGUF files of llama.cpp.
pub mod gguf;
/// The Hugging Face hub.
pub mod hub;
/// CPU kernels on slices.
pub mod kernel;
/// LoRA adapters in PEFT's format.
pub mod lora;
/// Out-of-memory errors.
pub mod memory;
/// Tensor operations that encoders and decoders share.
pub mod ops;
/// Reward models.
pub mod reward;
/// Tokenizers.
pub mod tokenizer;
/// Model weights.
pub mod weights;

pub use polyphony_io::{Error, Result};

#[cfg(test)]
#[path = "../../tests/support/fixtures.rs"]
mod fixtures;
