//! What do models compute? Every forward pass, and where their files come from.

pub mod adapter;
pub mod chat;
pub mod decoder;
pub mod device;
pub mod encoder;
pub mod files;
#[cfg(test)]
mod golden;
pub mod hub;
pub mod kernel;
pub mod memory;
pub mod ops;
pub mod reward;
pub mod sampling;
pub mod sentence;
pub mod tokenizer;
pub mod weights;
