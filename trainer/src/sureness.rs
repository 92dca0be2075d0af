//! How sure is a model of the answers that it learns? Entropy, accuracy and logits of their tokens.
//!
//! As TRL's DPO trainer counts, for every method: over answers, where its SFT trainer takes the entropy
//! of prompts in and its ORPO trainer the logits of prompts and padding.

use crate::backward::head::TokenStats;
use crate::batch::Batch;
use crate::objective::Method;

/// Sums over the tokens of answers; means when divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenMetrics {
    /// How many tokens the chosen answers have; where the method has no pairs, how many are learnt.
    pub chosen: usize,
    /// How many the rejected ones have.
    pub rejected: usize,
    /// The entropy of what could stand in each token's place, in nats.
    pub entropy: f64,
    /// In how many places of the chosen answers no token was likelier than theirs.
    pub top: f64,
    /// The mean logit in the chosen answers' places.
    pub logits_chosen: f64,
    /// In the rejected ones'.
    pub logits_rejected: f64,
}

impl TokenMetrics {
    /// Of a batch's texts: chosen and rejected by turns where the method has pairs, else chosen ones
    /// alone, of which all that is learnt counts.
    pub fn of(batch: &Batch, token_stats: &TokenStats, method: Method) -> Self {
        let in_pairs = method.has_pairs();
        let mut sums = Self::default();
        for (place, text) in batch.texts.iter().enumerate() {
            let rows = if in_pairs {
                text.completion.clone()
            } else {
                text.all.clone()
            };
            let sum = |of: &[f32]| of[rows.clone()].iter().map(|&x| f64::from(x)).sum::<f64>();
            sums.entropy += sum(&token_stats.entropy);
            if in_pairs && place % 2 == 1 {
                sums.rejected += rows.len();
                sums.logits_rejected += sum(&token_stats.logits);
            } else {
                sums.chosen += rows.len();
                sums.logits_chosen += sum(&token_stats.logits);
                sums.top += sum(&token_stats.top);
            }
        }
        sums
    }

    /// Adds the sums of other answers.
    pub fn add(&mut self, more: &Self) {
        self.chosen += more.chosen;
        self.rejected += more.rejected;
        self.entropy += more.entropy;
        self.top += more.top;
        self.logits_chosen += more.logits_chosen;
        self.logits_rejected += more.logits_rejected;
    }

    /// The means, by TRL's names; those of rejected answers where there are any.
    pub fn means(&self) -> Vec<(&'static str, f64)> {
        let chosen = self.chosen.max(1) as f64;
        let mut means = vec![
            (
                "entropy",
                self.entropy / (self.chosen + self.rejected).max(1) as f64,
            ),
            ("mean_token_accuracy", self.top / chosen),
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
