//! Examples: the tokens of one row, with its weight or score.

use std::collections::HashMap;

use polyphony_io::hash::Sha256;
use polyphony_model::chat::PromptCompletion;

/// A training example: the tokens of one row with its weight or score.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The chosen text of a pair, or the only text.
    pub chosen: PromptCompletion,
    /// The rejected text of a pair.
    pub rejected: Option<PromptCompletion>,
    /// The factor of the pair's loss, 0 or more; 1 without weights.
    pub weight: f64,
    /// The target of a reward model; 0 for other methods.
    pub score: f64,
    /// FNV-1a of the prompt: equal for responses to the same prompt.
    pub prompt_hash: u64,
    /// The row's number in the file, from 1.
    pub row: usize,
}

impl Example {
    /// The number of tokens of its texts, prompts included.
    pub fn tokens(&self) -> usize {
        let rejected = self.rejected.as_ref().map_or(0, |text| text.ids.len());
        self.chosen.ids.len() + rejected
    }
}

/// The examples of a file, with counts of duplicate, dropped and truncated rows.
#[derive(Debug, Default)]
pub struct Examples {
    /// The training split: rows of the split `train`, or without a split.
    pub train: Vec<Example>,
    /// The evaluation split: rows of the splits `validation`, `valid` and `eval`, or, if there are none, of
    /// `test`.
    pub eval: Vec<Example>,
    /// Rows of the split `test`, until [`Self::choose_eval`].
    pub test: Vec<Example>,
    /// The texts of the prompts of all splits but `train`, by [`Example::prompt_hash`].
    pub held_out_prompts: HashMap<u64, String>,
    /// Rows of the split `test` that are not used, because there is a validation split.
    pub unused_test: usize,
    /// The size of the evaluation split before [`Self::subsample_eval`].
    pub held_out: usize,
    /// SFT on pairs: rows with the same chosen response as an earlier row, not used.
    pub duplicates: usize,
    /// Rows with a text above the length limit that are not used.
    pub dropped: usize,
    /// Rows with a text above the length limit that are truncated to it.
    pub truncated: usize,
}

impl Examples {
    /// Evaluates on the test split if there is no validation split. Otherwise the test split is not used: a
    /// checkpoint that was selected on it could no longer be judged by it.
    pub fn choose_eval(&mut self) {
        if self.eval.is_empty() {
            self.eval = std::mem::take(&mut self.test);
        } else {
            self.unused_test = std::mem::take(&mut self.test).len();
        }
        self.held_out = self.eval.len();
    }

    /// Reduces the evaluation split to at most `max_samples` examples at equal distances; 0: no limit.
    pub fn subsample_eval(&mut self, max_samples: usize) {
        let total = self.eval.len();
        if max_samples > 0 && max_samples < total {
            let mut number = 0;
            self.eval.retain(|_| {
                number += 1;
                number * max_samples / total > (number - 1) * max_samples / total
            });
        }
    }
}

/// Adds a text's tokens to a hash.
pub(crate) fn hash_tokens(hasher: &mut Sha256, text: &PromptCompletion) {
    hasher.update((text.ids.len() as u64).to_le_bytes());
    hasher.update((text.prompt_len as u64).to_le_bytes());
    for id in &text.ids {
        hasher.update(id.to_le_bytes());
    }
}
