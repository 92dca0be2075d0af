//! Dataset counts: numbers of rows that are trained on, held out, dropped, truncated or duplicates.

use polyphony_io::progress::Progress;
use serde::{Deserialize, Serialize};

use super::example::Examples;

/// Numbers of rows by their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatasetCounts {
    /// Rows that are trained on.
    pub train: usize,
    /// Rows of the evaluation split.
    pub held_out: usize,
    /// Rows of the test split that are not used, because there is a validation split.
    #[serde(default)]
    pub unused_test: usize,
    /// Rows of the evaluation split that are evaluated.
    pub evaluated: usize,
    /// SFT on pairs: rows with the same chosen response as an earlier row, not used.
    pub duplicates: usize,
    /// Rows with a text above the length limit that are not used.
    pub dropped: usize,
    /// Rows with a text above the length limit that are truncated to it.
    pub truncated: usize,
}

impl DatasetCounts {
    /// The counts of examples.
    pub fn new(examples: &Examples) -> Self {
        Self {
            train: examples.train.len(),
            held_out: examples.held_out,
            unused_test: examples.unused_test,
            evaluated: examples.eval.len(),
            duplicates: examples.duplicates,
            dropped: examples.dropped,
            truncated: examples.truncated,
        }
    }

    /// Reports rows that are dropped, truncated or duplicates.
    pub fn report(&self, max_length: usize, progress: &dyn Progress) {
        if self.evaluated < self.held_out {
            progress.message(&format!(
                "{} of {} held-out rows are evaluated (--max-eval-samples)",
                self.evaluated, self.held_out
            ));
        }
        if self.duplicates > 0 {
            progress.message(&format!(
                "{} rows with a duplicate chosen response were skipped",
                self.duplicates
            ));
        }
        if self.unused_test > 0 {
            progress.message(&format!(
                "{} rows of the split test are not used: the split validation is evaluated",
                self.unused_test
            ));
        }
        let total = self.train + self.held_out + self.unused_test + self.duplicates + self.dropped;
        for (count, verb) in [(self.dropped, "dropped"), (self.truncated, "truncated")] {
            if count > 0 {
                progress.message(&format!(
                    "{count} of {total} rows had a text of more than {max_length} tokens and were {verb}"
                ));
            }
        }
    }
}
