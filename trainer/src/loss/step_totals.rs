//! Step totals: sums over a step's examples, which each example's share of the step's mean loss needs.

/// Totals for the share of one example in the mean loss of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTotals {
    /// The number of examples of the step.
    pub examples: usize,
    /// The totals of the example's device: of the whole step, unless
    /// `per_device_train_batch_size` divides it.
    pub device: DeviceTotals,
}

/// Totals over the examples whose means over tokens or weights are taken together: the batch of one device
/// in TRL and in the published DORPO code.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DeviceTotals {
    /// The number of examples.
    pub examples: usize,
    /// The sum of their weights.
    pub weights: f64,
    /// The number of target tokens of their chosen texts.
    pub chosen_tokens: usize,
}

impl DeviceTotals {
    /// The mean weight.
    pub fn mean_weight(&self) -> f64 {
        self.weights / self.examples.max(1) as f64
    }
}

impl StepTotals {
    /// The factor of each chosen target's negative log-likelihood in a loss that is a mean over the tokens of
    /// each device's batch. Devices count by their number of examples.
    pub fn token_share(&self) -> f64 {
        let devices = self.device.examples as f64 / self.examples.max(1) as f64;
        devices / self.device.chosen_tokens.max(1) as f64
    }
}
