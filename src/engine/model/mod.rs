//! What comes from outside the project: files of the hub, tokenizers.

pub mod hub;
pub mod tokenizer;
