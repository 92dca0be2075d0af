//! Metric sums: a step's metrics, added up over examples and micro-batches.

use super::token_metrics::TokenMetrics;

/// Sums over examples; means when divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MetricSums {
    /// The number of examples that went through the model.
    pub examples: usize,
    /// The sum of the weights of pairs.
    pub weights: f64,
    /// The loss: not a sum over examples, but already each example's share of the step's mean.
    pub loss: f64,
    /// The implicit reward of the chosen response: `beta * log_ratio`, for ORPO `lambda * mean logp`, for a
    /// reward model its output.
    pub rewards_chosen: f64,
    /// The implicit reward of the rejected response.
    pub rewards_rejected: f64,
    /// The number of pairs whose chosen response has the higher reward.
    pub accuracies: f64,
    /// The chosen response's log-probability, in nats: summed over tokens, for ORPO their mean.
    pub logps_chosen: f64,
    /// The rejected response's log-probability, likewise.
    pub logps_rejected: f64,
    /// ORPO: the mean negative log-likelihood of the chosen text, in nats. DPO with an SFT term: the pair's share
    /// of the mean over tokens, times the number of pairs.
    pub nll_loss: f64,
    /// ORPO: `log sigmoid(log odds ratio)`.
    pub log_odds_ratio: f64,
    /// ORPO: the log odds ratio.
    pub log_odds_chosen: f64,
    /// Entropy, accuracy and logits of the responses' tokens.
    pub token_metrics: TokenMetrics,
    /// The outputs of a reward model.
    pub rewards: RewardStats,
}

impl MetricSums {
    /// Adds the sums of other examples.
    pub fn add(&mut self, other: &Self) {
        self.examples += other.examples;
        self.weights += other.weights;
        self.loss += other.loss;
        self.rewards_chosen += other.rewards_chosen;
        self.rewards_rejected += other.rewards_rejected;
        self.accuracies += other.accuracies;
        self.logps_chosen += other.logps_chosen;
        self.logps_rejected += other.logps_rejected;
        self.nll_loss += other.nll_loss;
        self.log_odds_ratio += other.log_odds_ratio;
        self.log_odds_chosen += other.log_odds_chosen;
        self.token_metrics.add(&other.token_metrics);
        self.rewards = self.rewards.merge(&other.rewards);
    }
}

/// Count, sum and range of a reward model's outputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardStats {
    /// The number of texts.
    pub count: usize,
    /// The sum of outputs.
    pub sum: f64,
    /// The smallest output; positive infinity for no texts.
    pub min: f64,
    /// The largest output; negative infinity for no texts.
    pub max: f64,
}

impl Default for RewardStats {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl RewardStats {
    /// The statistics of some outputs.
    pub fn new(rewards: &[f32]) -> Self {
        let rewards = rewards.iter().map(|&reward| f64::from(reward));
        rewards.fold(Self::default(), |all, reward| {
            all.merge(&Self {
                count: 1,
                sum: reward,
                min: reward,
                max: reward,
            })
        })
    }

    /// The statistics of both sets of outputs.
    fn merge(self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}
