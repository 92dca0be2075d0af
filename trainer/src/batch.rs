//! Which tokens go through the model together? Texts one after another, no padding between them.

use std::ops::Range;

use polyphony_model::chat::Tokens;

/// Texts that go through the model together, and whose tokens are asked for.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// All tokens, text after text.
    pub ids: Vec<u32>,
    /// Each text's number of tokens.
    pub lengths: Vec<usize>,
    /// Where the vectors stand that foretell the targets.
    pub rows: Vec<u32>,
    /// The tokens whose log-probabilities are asked for.
    pub targets: Vec<u32>,
    /// Which targets are whose.
    pub texts: Vec<TargetSpan>,
}

/// Which targets belong to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpan {
    /// All that are asked for: from the prompt's second token on, or the completion's alone.
    pub all: Range<usize>,
    /// Those of the completion.
    pub completion: Range<usize>,
}

impl Batch {
    /// Adds a text; with `whole` its prompt's tokens are asked for, too, all but the first.
    pub fn add(&mut self, text: &Tokens, whole: bool) {
        let start = self.ids.len();
        let first = if whole { 1 } else { text.prompt.max(1) };
        let begin = self.targets.len();
        for token in first..text.ids.len() {
            self.rows.push((start + token - 1) as u32);
            self.targets.push(text.ids[token]);
        }
        let end = self.targets.len();
        let completion = begin + (text.prompt.max(1) - first).min(end - begin);
        self.texts.push(TargetSpan {
            all: begin..end,
            completion: completion..end,
        });
        self.ids.extend_from_slice(&text.ids);
        self.lengths.push(text.ids.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_foretold_by_the_token_before() {
        let text = |ids: &[u32], prompt| Tokens {
            ids: ids.to_vec(),
            prompt,
        };
        let mut batch = Batch::default();
        batch.add(&text(&[1, 2, 3, 4], 2), false);
        batch.add(&text(&[5, 6, 7], 2), true);
        assert_eq!(batch.lengths, [4, 3]);
        assert_eq!(batch.targets, [3, 4, 6, 7]);
        assert_eq!(batch.rows, [1, 2, 4, 5]);
        let rows = |all: Range<usize>, completion: Range<usize>| TargetSpan { all, completion };
        assert_eq!(batch.texts, [rows(0..2, 0..2), rows(2..4, 3..4)]);
    }
}
