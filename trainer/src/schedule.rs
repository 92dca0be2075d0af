//! Which learning rate has each step? transformers' schedules.

use serde::{Deserialize, Serialize};

/// How the learning rate changes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to 0 in a line.
    Linear,
    /// It falls along a cosine.
    Cosine,
}

impl Schedule {
    /// What the learning rate is multiplied by at a step, from 0 on. `cycles` of a cosine: one half
    /// ends at 0, a quarter at one half.
    pub fn factor(self, step: usize, steps: usize, warmup: usize, cycles: f64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let left = steps.saturating_sub(warmup).max(1) as f64;
        let gone = (step - warmup) as f64 / left;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - gone).max(0.0),
            Self::Cosine => (0.5 * (1.0 + (std::f64::consts::TAU * cycles * gone).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_transformers() {
        let near = |given: f64, expected: f64| assert!((given - expected).abs() < 1e-12, "{given}");
        near(Schedule::Constant.factor(0, 10, 0, 0.5), 1.0);
        near(Schedule::Constant.factor(1, 10, 4, 0.5), 0.25);
        near(Schedule::Linear.factor(4, 10, 4, 0.5), 1.0);
        near(Schedule::Linear.factor(7, 10, 4, 0.5), 0.5);
        near(Schedule::Linear.factor(12, 10, 4, 0.5), 0.0);
        near(Schedule::Cosine.factor(5, 10, 0, 0.5), 0.5);
        near(Schedule::Cosine.factor(10, 10, 0, 0.25), 0.5);
    }
}
