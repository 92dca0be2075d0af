//! Optimizer: AdamW, gradient clipping, learning-rate schedules.

/// AdamW and gradient clipping.
pub mod adamw;

/// Learning-rate schedules with warmup.
pub mod lr_scheduler;
