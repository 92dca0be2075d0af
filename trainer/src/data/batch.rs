//! A batch: packed texts, one after another without padding, and the tokens whose log-probability is needed.

use std::ops::Range;

use polyphony_model::chat::PromptCompletion;

/// Texts that go through the model together, and their target tokens.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// The token ids of all texts, concatenated.
    pub ids: Vec<u32>,
    /// The number of tokens of each text.
    pub lengths: Vec<usize>,
    /// The positions in `ids` whose hidden state predicts each target: one before the target.
    pub rows: Vec<u32>,
    /// The ids of the target tokens.
    pub targets: Vec<u32>,
    /// Each text's range of `targets`.
    pub texts: Vec<TargetSpan>,
}

/// A text's ranges of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpan {
    /// All targets: from the prompt's second token on, or those of the completion alone.
    pub all: Range<usize>,
    /// The targets of the completion.
    pub completion: Range<usize>,
}

impl Batch {
    /// Adds a text. With `with_prompt` the prompt's tokens are targets, too, except the first, which no
    /// token precedes.
    pub fn add(&mut self, text: &PromptCompletion, with_prompt: bool) {
        let start = self.ids.len();
        let first = if with_prompt {
            1
        } else {
            text.prompt_len.max(1)
        };
        let begin = self.targets.len();
        for token in first..text.ids.len() {
            self.rows.push((start + token - 1) as u32);
            self.targets.push(text.ids[token]);
        }
        let end = self.targets.len();
        let completion = begin + (text.prompt_len.max(1) - first).min(end - begin);
        self.texts.push(TargetSpan {
            all: begin..end,
            completion: completion..end,
        });
        self.ids.extend_from_slice(&text.ids);
        self.lengths.push(text.ids.len());
    }
}

/// Consecutive ranges of at most `tokens` tokens each; a single text above that is a range of its own.
pub fn split_by_tokens(sizes: impl Iterator<Item = usize>, tokens: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut total = 0;
    for (index, size) in sizes.enumerate() {
        total += size;
        match ranges.last_mut() {
            Some(last) if total <= tokens => last.end = index + 1,
            _ => {
                ranges.push(index..index + 1);
                total = size;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_the_token_limit() {
        let ranges = split_by_tokens([3, 3, 5, 1, 1, 9, 1].into_iter(), 6);
        assert_eq!(ranges, [0..2, 2..4, 4..5, 5..6, 6..7]);
        assert!(split_by_tokens(std::iter::empty(), 6).is_empty());
    }

    #[test]
    fn targets_are_predicted_from_the_position_before() {
        let text = |ids: &[u32], prompt_len| PromptCompletion {
            ids: ids.to_vec(),
            prompt_len,
        };
        let mut batch = Batch::default();
        batch.add(&text(&[1, 2, 3, 4], 2), false);
        batch.add(&text(&[5, 6, 7], 2), true);
        assert_eq!(batch.lengths, [4, 3]);
        assert_eq!(batch.targets, [3, 4, 6, 7]);
        assert_eq!(batch.rows, [1, 2, 4, 5]);
        let span = |all: Range<usize>, completion: Range<usize>| TargetSpan { all, completion };
        assert_eq!(batch.texts, [span(0..2, 0..2), span(2..4, 3..4)]);
    }
}
