//! The trainer plug-in: LoRA adapters on weighted preference pairs, in the order the numbers flow.

pub mod agreement;
/// How gradients flow back through a layer.
pub mod backward;
pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod curve;
pub mod data;
pub mod identity;
pub mod lora;
/// What a batch costs.
pub mod loss;
pub mod metrics;
pub mod objective;
pub mod optimizer;
pub mod pass;
pub mod peft;
pub mod plan;
pub mod policy;
pub mod preset;
pub mod reference;
mod rows;
pub mod run;
pub mod schedule;
pub mod sureness;
pub mod tally;
pub mod tiny;
pub mod votes;

#[cfg(test)]
mod golden;
