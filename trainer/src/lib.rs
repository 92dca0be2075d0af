//! LoRA trainer: adapters for decoders by SFT, DPO, DDPO, ORPO, DORPO, and reward models.
//!
//! The modules stand in the order of the data: options, rows as tokens, the model with its adapter, loss and
//! gradients, the optimizer, and the run that ties them together.

/// Training methods, and what each needs of the data.
pub mod method;

/// The dataset: rows to tokens, batches and their schedule, counts, score transform.
pub mod data;

/// A small Llama with random weights, for the demo and tests.
pub mod tiny_llama;

/// The policy: a frozen decoder with trainable adapters.
pub mod policy;

/// Losses and their derivatives: SFT, DPO, ORPO, reward.
pub mod loss;

/// The optimizer: AdamW, gradient clipping, learning rate schedules.
pub mod optim;

/// Hyperparameters: flags over a TOML file over the method's defaults.
pub mod config;

/// The run: steps, evaluation, checkpoints, metrics.
pub mod run;

#[cfg(test)]
mod golden;
