//! LoRA trainer: fine-tunes decoders by SFT, DPO, DDPO, ORPO and DORPO, and trains reward models.
//!
//! Order of the data: method and hyperparameters, rows as tokens, the policy with its adapter, loss and gradients,
//! the optimizer, and the run that combines them.

/// Training methods, and the data that each needs.
pub mod method;

/// The dataset: rows to tokens, batches and their schedule, counts, score transform.
pub mod data;

/// A small Llama with random weights, for the demo and tests.
pub mod tiny_llama;

/// The policy: a frozen decoder with trainable adapters.
pub mod policy;

/// Losses and their derivatives: SFT, DPO, ORPO, reward.
pub mod loss;

/// The optimizer: AdamW, gradient clipping, learning-rate schedules.
pub mod optim;

/// Texts that a policy writes while it trains: measures, collapse, the best step.
pub mod watch;

/// Hyperparameters: flags over a TOML file over the method's defaults.
pub mod config;

/// The run: steps, evaluation, checkpoints, metrics.
pub mod run;

#[cfg(test)]
mod golden;
