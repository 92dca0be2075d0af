//! What became of the rows of a file? Learnt, held out, left out or cut.

use polyphony_io::progress::Progress;
use serde::{Deserialize, Serialize};

use crate::data::Examples;

/// How many rows went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatasetCounts {
    /// How many are learnt.
    pub train: usize,
    /// How many are held out.
    pub held_out: usize,
    /// How many of those held out are evaluated on.
    pub evaluated: usize,
    /// How many have a chosen answer that stood there before, which SFT learns once.
    pub repeated: usize,
    /// How many had a text above the limit and were left out.
    pub left_out: usize,
    /// How many had one that was cut, of those learnt or held out.
    pub cut: usize,
}

impl DatasetCounts {
    /// Of examples that were read.
    pub fn of(examples: &Examples) -> Self {
        Self {
            train: examples.train.len(),
            held_out: examples.held_out,
            evaluated: examples.evaluation.len(),
            repeated: examples.repeated,
            left_out: examples.dropped,
            cut: examples.truncated,
        }
    }

    /// Says which rows are not learnt or not looked at, and why.
    pub fn say(&self, max_length: usize, progress: &dyn Progress) {
        if self.evaluated < self.held_out {
            progress.message(&format!(
                "{} of {} held-out rows are evaluated on: --eval-pairs says how many",
                self.evaluated, self.held_out
            ));
        }
        if self.repeated > 0 {
            progress.message(&format!(
                "{} rows have a chosen answer that stood there before: each is learnt once",
                self.repeated
            ));
        }
        let of = self.train + self.held_out + self.repeated + self.left_out;
        for (count, what) in [(self.left_out, "left out"), (self.cut, "cut")] {
            if count > 0 {
                progress.message(&format!(
                    "{count} of {of} rows had a text of more than {max_length} tokens and were {what}"
                ));
            }
        }
    }
}
