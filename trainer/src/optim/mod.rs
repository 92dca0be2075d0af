//! Optimizer: AdamW, gradient clipping, learning rate schedules.

/// AdamW and gradient clipping.
pub mod adamw;

/// Learning rate schedules.
pub mod lr_scheduler;
