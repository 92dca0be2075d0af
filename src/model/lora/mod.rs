//! LoRA adapters (Hu et al. 2021) in PEFT's format: configuration, tensor names, reading, writing, merging
//! and applying them.

mod adapter;
mod apply;
mod config;
pub mod names;
mod tensor_file;
mod write;

pub use adapter::Adapter;
pub use apply::{LinearWeight, LoraFactors};
pub use config::LoraConfig;
pub use names::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE};
pub use tensor_file::{Metadata, read_tensors, write_tensors};
pub use write::write_adapter;
