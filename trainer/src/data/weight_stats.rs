//! Weight statistics: mean weight of the training pairs, and the share of pairs whose weight is exactly 0.

use std::path::Path;

use polyphony_io::progress::Progress;
use polyphony_io::{Error, Result};
use serde::{Deserialize, Serialize};

use super::example::Example;

/// Statistics of the weights of the training pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightStats {
    /// The mean weight; below 1 it lowers the effective learning rate, as against a method without weights.
    pub mean: f64,
    /// The number of pairs.
    pub pairs: usize,
    /// The number of pairs whose weight is exactly 0.
    pub zero: usize,
    /// The number of tokens of all pairs, prompts included.
    pub tokens: u64,
    /// The number of tokens of the pairs whose weight is exactly 0.
    pub zero_tokens: u64,
}

impl WeightStats {
    /// The statistics of some pairs.
    pub fn new(pairs: &[Example]) -> Self {
        let tokens = |pairs: &mut dyn Iterator<Item = &Example>| {
            pairs.map(|pair| pair.tokens() as u64).sum::<u64>()
        };
        let zero = || pairs.iter().filter(|pair| pair.weight == 0.0);
        let sum: f64 = pairs.iter().map(|pair| pair.weight).sum();
        Self {
            mean: sum / pairs.len().max(1) as f64,
            pairs: pairs.len(),
            zero: zero().count(),
            tokens: tokens(&mut pairs.iter()),
            zero_tokens: tokens(&mut zero()),
        }
    }

    /// Checks that some pair has a weight above 0; `file` is that of the pairs, for the error.
    ///
    /// # Errors
    /// When all weights are 0: every gradient would be 0.
    pub fn check(&self, file: &Path) -> Result<()> {
        if self.zero < self.pairs {
            return Ok(());
        }
        Err(Error::input(
            file,
            format!(
                "all weights are 0 (training pairs: {}), at least one must be > 0",
                self.pairs
            ),
            "compute the weights again, or train dpo or orpo, which need none",
        ))
    }

    /// Reports the mean weight, and pairs of weight 0; `skips` is whether these are skipped.
    pub fn report(&self, skips: bool, progress: &dyn Progress) {
        let zero = match (self.zero, skips) {
            (0, _) => String::new(),
            (_, true) => format!("; {} and are skipped", self.zero_share()),
            (_, false) => format!(
                "; {} and are not skipped: the loss has a term without weights",
                self.zero_share()
            ),
        };
        let mean = self.mean;
        progress.message(&format!(
            "mean weight of the training pairs: {mean:.3}{zero}"
        ));
    }

    /// The pairs of weight 0 in words: `3 of 12 pairs (25 %, 20 % of the tokens) have weight 0`.
    pub fn zero_share(&self) -> String {
        let percent = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
        format!(
            "{} of {} pairs ({:.0} %, {:.0} % of the tokens) have weight 0",
            self.zero,
            self.pairs,
            percent(self.zero as u64, self.pairs as u64),
            percent(self.zero_tokens, self.tokens)
        )
    }
}

#[cfg(test)]
mod tests {
    use polyphony_model::chat::PromptCompletion;

    use super::*;

    #[test]
    fn zero_weights_are_counted_and_refused_where_all_are() {
        let pair = |weight: f64, length: usize| Example {
            chosen: PromptCompletion {
                ids: vec![1; length],
                prompt_len: 1,
            },
            rejected: None,
            weight,
            score: 0.0,
            prompt_hash: 0,
            row: 1,
        };
        let file = Path::new("pairs.jsonl");
        let stats = WeightStats::new(&[pair(0.0, 2), pair(3.0, 5), pair(-0.0, 1)]);
        assert_eq!((stats.mean, stats.zero), (1.0, 2));
        assert_eq!(
            stats.zero_share(),
            "2 of 3 pairs (67 %, 38 % of the tokens) have weight 0"
        );
        assert!(stats.check(file).is_ok());
        let error = WeightStats::new(&[pair(0.0, 2), pair(0.0, 3)]).check(file);
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("all weights are 0 (training pairs: 2)"),
            "{message}"
        );
    }
}
