//! Learning-rate schedules with warmup (transformers: `get_scheduler`).

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The shape of the schedule after the warmup (transformers: `lr_scheduler_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// Constant
    Constant,
    /// Linear decay to 0
    Linear,
    /// Cosine decay
    Cosine,
}

impl LrScheduler {
    /// The factor of the learning rate at a step, counted from 0. `num_cycles` applies to the cosine: 0.5 ends
    /// at 0, 0.25 at one half.
    pub fn factor(self, step: usize, steps: usize, warmup: usize, num_cycles: f64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let remaining = steps.saturating_sub(warmup).max(1) as f64;
        let progress = (step - warmup) as f64 / remaining;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - progress).max(0.0),
            Self::Cosine => {
                (0.5 * (1.0 + (std::f64::consts::TAU * num_cycles * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_match_transformers() {
        let near =
            |actual: f64, expected: f64| assert!((actual - expected).abs() < 1e-12, "{actual}");
        near(LrScheduler::Constant.factor(0, 10, 0, 0.5), 1.0);
        near(LrScheduler::Constant.factor(1, 10, 4, 0.5), 0.25);
        near(LrScheduler::Linear.factor(4, 10, 4, 0.5), 1.0);
        near(LrScheduler::Linear.factor(7, 10, 4, 0.5), 0.5);
        near(LrScheduler::Linear.factor(12, 10, 4, 0.5), 0.0);
        near(LrScheduler::Cosine.factor(5, 10, 0, 0.5), 0.5);
        near(LrScheduler::Cosine.factor(10, 10, 0, 0.25), 0.5);
    }
}
