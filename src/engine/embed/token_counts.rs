//! Token counts: how many texts are longer than an embedder's maximum, and how many of their tokens it has seen.

use std::collections::BTreeMap;

use polyphony_model::encoder::text_tokenizer::TextTokens;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Embedder;

/// The tokens of texts, without special tokens and the model's prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenCounts {
    /// The number of texts.
    pub texts: u64,
    /// The number of their tokens.
    pub tokens: u64,
    /// The number of texts that were truncated.
    pub truncated: u64,
    /// The number of tokens of the truncated texts.
    pub truncated_tokens: u64,
    /// The number of tokens of the truncated texts that the embedder has seen.
    pub truncated_tokens_seen: u64,
    /// The number of texts whose vector is the mean of several windows.
    pub averaged: u64,
}

impl TokenCounts {
    /// Adds the tokens of texts.
    pub fn add(&mut self, texts: &[TextTokens]) {
        for text in texts {
            self.texts += 1;
            self.tokens += text.tokens as u64;
            self.averaged += u64::from(text.windows > 1);
            if text.seen < text.tokens {
                self.truncated += 1;
                self.truncated_tokens += text.tokens as u64;
                self.truncated_tokens_seen += text.seen as u64;
            }
        }
    }

    /// The sum of both counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            texts: self.texts + other.texts,
            tokens: self.tokens + other.tokens,
            truncated: self.truncated + other.truncated,
            truncated_tokens: self.truncated_tokens + other.truncated_tokens,
            truncated_tokens_seen: self.truncated_tokens_seen + other.truncated_tokens_seen,
            averaged: self.averaged + other.averaged,
        }
    }

    /// The share of the truncated texts' tokens that the embedder has seen, from 0 to 1; `None` if no text was
    /// truncated.
    pub fn share_seen(&self) -> Option<f64> {
        (self.truncated > 0)
            .then(|| self.truncated_tokens_seen as f64 / self.truncated_tokens as f64)
    }

    /// The sentence that says how many texts were truncated, and the share of their tokens that the embedder saw;
    /// `None` if all texts were seen.
    pub fn truncation_notice(&self, embedder: &Embedder) -> Option<String> {
        let (share, most) = (self.share_seen()?, embedder.max_tokens()?);
        let (n, are, their) = match self.truncated {
            1 => ("1".to_owned(), "is", "its"),
            n => (n.to_string(), "are", "their"),
        };
        Some(format!(
            "{n} of {} texts {are} longer than the {most} tokens of {}, which saw {:.1} % of {their} tokens \
             (--long-texts mean reads whole texts).",
            self.texts,
            embedder.name(),
            100.0 * share
        ))
    }

    /// The sentence that says how many vectors are means of windows; `None` if none is.
    pub fn window_notice(&self, embedder: &Embedder) -> Option<String> {
        let most = embedder.max_tokens().filter(|_| self.averaged > 0)?;
        let (n, are, vectors) = match self.averaged {
            1 => ("1".to_owned(), "is", "its vector is the mean"),
            n => (n.to_string(), "are", "their vectors are means"),
        };
        Some(format!(
            "{n} of {} texts {are} longer than the {most} tokens of {}: {vectors} of windows.",
            self.texts,
            embedder.name()
        ))
    }

    /// The counts as options of a store's step.
    pub(crate) fn to_options(self) -> BTreeMap<String, String> {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else {
            return BTreeMap::new();
        };
        let fields = fields.into_iter();
        fields.map(|(name, n)| (name, n.to_string())).collect()
    }

    /// The counts by their names; those without a count are 0.
    pub(crate) fn from_names<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Self {
        let fields: Map<String, Value> = counts
            .map(|(name, n)| (name.to_owned(), Value::from(n)))
            .collect();
        serde_json::from_value(Value::Object(fields)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_tokens_of_truncated_texts() {
        let text = |tokens, seen, windows| TextTokens {
            tokens,
            seen,
            windows,
        };
        let mut counts = TokenCounts::default();
        counts.add(&[text(10, 10, 1), text(100, 25, 1), text(60, 15, 1)]);
        assert_eq!(counts.share_seen(), Some(0.25));
        let mut whole = TokenCounts::default();
        whole.add(&[text(100, 100, 4), text(3, 3, 1)]);
        assert_eq!(whole.share_seen(), None);
        let sum = counts.plus(whole);
        assert_eq!(
            (sum.texts, sum.tokens, sum.truncated, sum.averaged),
            (5, 273, 2, 1)
        );
        let options = sum.to_options();
        let named = options
            .iter()
            .map(|(name, n)| (name.as_str(), n.parse().unwrap()));
        assert_eq!(TokenCounts::from_names(named), sum);
    }
}
