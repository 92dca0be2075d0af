//! Training run: preparation, then steps with metrics, evaluations and checkpoints; resumable after a kill.

/// The run manifest: hashes of all inputs that the result depends on.
pub mod manifest;

/// Micro-batches (gradient accumulation): parts of a batch that fit in memory.
pub mod micro_batch;

/// The reference model's log-probabilities, computed once and cached in a file.
pub mod reference;

/// Checkpoints: the complete training state after a step.
pub mod checkpoint;

/// The metrics of a step or an evaluation, under TRL's names.
pub mod metrics;

/// The metrics log: `metrics.jsonl`.
pub mod metrics_log;

/// Metrics of a reward model on held-out scores.
pub mod reward_metrics;

/// The loss curve as SVG.
pub mod loss_plot;

mod evaluate;
mod prepare;
mod step;
mod trainer;
mod watch;

pub use trainer::{RunSummary, run};
