//! Losses: plain functions of log-probabilities or rewards, each with its derivatives.

pub mod dpo;

pub mod orpo;

pub mod reward;

/// Entropy, accuracy and logits of the responses' tokens.
pub mod token_metrics;

/// Sums of a step's metrics.
pub mod metric_sums;

/// Sums over a step's examples.
pub mod step_totals;

/// A batch's loss by method, and its derivatives.
pub mod objective;

/// The loss of a pair, and its derivatives by each response's log-probability or reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss.
    pub loss: f64,
    /// The derivative by the chosen response's log-probability or reward.
    pub chosen: f64,
    /// The derivative by the rejected response's log-probability or reward.
    pub rejected: f64,
}

/// `log(sigmoid(x))`, without overflow (PyTorch: `logsigmoid`).
pub fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

#[cfg(test)]
pub(crate) mod finite {
    //! Finite differences: check of analytic derivatives.

    use super::PairLoss;

    /// Whether the derivatives of `loss` at a point agree with central differences.
    pub(crate) fn agrees(loss: impl Fn(f64, f64) -> PairLoss, chosen: f64, rejected: f64) -> bool {
        let step = 1e-6;
        let at = loss(chosen, rejected);
        let slope = |up: PairLoss, down: PairLoss| (up.loss - down.loss) / (2.0 * step);
        let by_chosen = slope(loss(chosen + step, rejected), loss(chosen - step, rejected));
        let by_rejected = slope(loss(chosen, rejected + step), loss(chosen, rejected - step));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-5 * (1.0 + a.abs().max(b.abs()));
        near(at.chosen, by_chosen) && near(at.rejected, by_rejected)
    }
}
