//! Token metrics: entropy, accuracy and mean logits over the responses' tokens.
//!
//! Defined as in TRL's DPO trainer, for every method: over responses, while TRL's SFT trainer includes prompts
//! in the entropy, and its ORPO trainer prompts and padding in the logits.

use crate::data::batch::Batch;
use crate::method::Method;
use crate::policy::backward::head::TokenStats;

/// Sums over the tokens of responses; means when divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenMetrics {
    /// The number of tokens of chosen responses; for methods without pairs, of all targets.
    pub chosen: usize,
    /// The number of tokens of rejected responses.
    pub rejected: usize,
    /// The entropy of the next-token distribution, in nats, summed over both responses' tokens.
    pub entropy: f64,
    /// The number of the chosen responses' tokens with the highest probability (argmax hits).
    pub top_1: f64,
    /// The mean logit over the vocabulary, at the chosen responses' tokens.
    pub logits_chosen: f64,
    /// The mean logit over the vocabulary, at the rejected responses' tokens.
    pub logits_rejected: f64,
}

impl TokenMetrics {
    /// The metrics of a batch: chosen and rejected texts alternately for methods with pairs, otherwise chosen
    /// texts alone, whose targets all count.
    pub fn new(batch: &Batch, token_stats: &TokenStats, method: Method) -> Self {
        let has_pairs = method.has_pairs();
        let mut sums = Self::default();
        for (index, text) in batch.texts.iter().enumerate() {
            let targets = if has_pairs {
                text.completion.clone()
            } else {
                text.all.clone()
            };
            let sum = |values: &[f32]| {
                let values = &values[targets.clone()];
                values.iter().map(|&x| f64::from(x)).sum::<f64>()
            };
            sums.entropy += sum(&token_stats.entropy);
            if has_pairs && index % 2 == 1 {
                sums.rejected += targets.len();
                sums.logits_rejected += sum(&token_stats.logits);
            } else {
                sums.chosen += targets.len();
                sums.logits_chosen += sum(&token_stats.logits);
                sums.top_1 += sum(&token_stats.top);
            }
        }
        sums
    }

    /// Adds the sums of another batch.
    pub fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.rejected += other.rejected;
        self.entropy += other.entropy;
        self.top_1 += other.top_1;
        self.logits_chosen += other.logits_chosen;
        self.logits_rejected += other.logits_rejected;
    }

    /// The means over tokens under TRL's names; those of rejected responses only where there are any.
    pub fn means(&self) -> Vec<(&'static str, f64)> {
        let chosen = self.chosen.max(1) as f64;
        let mut means = vec![
            (
                "entropy",
                self.entropy / (self.chosen + self.rejected).max(1) as f64,
            ),
            ("mean_token_accuracy", self.top_1 / chosen),
        ];
        if self.rejected > 0 {
            means.push(("logits/chosen", self.logits_chosen / chosen));
            means.push((
                "logits/rejected",
                self.logits_rejected / self.rejected as f64,
            ));
        }
        means
    }
}
