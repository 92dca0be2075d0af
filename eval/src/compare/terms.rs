//! Terms: the words and phrases of a model's texts and of people's texts to the same prompts, each tested.

use std::cmp::Ordering;

use rayon::prelude::*;
use serde::Serialize;

use crate::stats::exchange_test::rate_ratio::{interval, rate_ratio};
use crate::stats::exchange_test::{PromptCounts, p_greater};
use crate::stats::log_odds::log_odds;
use crate::stats::multiple_testing::benjamini_hochberg;
use crate::text::frequent_ngrams::{Groups, Ngram, frequent_ngrams};
use crate::text::sentences::Vocabulary;

/// The largest number of words of a term.
const MAX_WORDS: usize = 3;
/// The smallest number of prompts, by either side, at which a term is tested.
pub const MIN_PROMPTS: usize = 10;

/// A word or a phrase of two or three words, compared between a model and people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    /// The words in lower case, joined by spaces.
    pub term: String,
    /// The number of words.
    pub n: usize,
    /// The occurrences in the model's texts.
    pub model_count: u64,
    /// The occurrences in people's texts.
    pub people_count: u64,
    /// The number of prompts where the model has the term.
    pub model_prompts: usize,
    /// The number of prompts where people have the term.
    pub people_prompts: usize,
    /// The share of the term among the model's n-grams of `n` words.
    pub model_rate: f64,
    /// The share of the term among people's n-grams of `n` words.
    pub people_rate: f64,
    /// How many times more frequent the term is in the model's texts, at equal prompts (see [`rate_ratio`]); `None`
    /// if people never have it.
    pub rate_ratio: Option<f64>,
    /// The lower end of the 95 % confidence interval of the rate ratio, over prompts.
    pub ci_low: f64,
    /// The upper end of that interval; `None` if it is infinite.
    pub ci_high: Option<f64>,
    /// The log-odds ratio with an informative Dirichlet prior (see [`mod@crate::stats::log_odds`]).
    pub log_odds: f64,
    /// Its z.
    pub z: f64,
    /// The one-sided p-value of the exchange test over prompts (see [`crate::stats::exchange_test`]).
    pub p: f64,
    /// The same after Benjamini and Hochberg's correction for all tested terms.
    pub p_bh: f64,
}

/// A tested term.
#[derive(Debug)]
pub struct TestedTerm {
    /// The ids of its words.
    pub words: Vec<u32>,
    /// The occurrences at each prompt that has the term.
    prompts: Vec<PromptCounts>,
    /// The number of n-grams of the model and of people.
    sizes: [f64; 2],
    /// The one-sided p-value of the exchange test over prompts.
    pub p: f64,
    /// The same after Benjamini and Hochberg's correction.
    pub p_bh: f64,
}

/// Tests the words and phrases that occur at `min_prompts` prompts at least. `prompts` are the model's texts and
/// people's, neither of them empty. Which terms are tested does not depend on the side that has them.
pub fn test_terms(prompts: &[Groups<'_>], min_prompts: usize) -> Vec<TestedTerm> {
    let orders = frequent_ngrams(prompts, MAX_WORDS, min_prompts);
    let mut terms = Vec::new();
    for order in &orders {
        let total = |side: usize| order.sizes.iter().map(|sizes| f64::from(sizes[side])).sum();
        let sizes = [0, 1].map(total);
        let tested = order.ngrams.par_iter().map(|ngram| {
            let prompts = prompt_counts(ngram, &order.sizes);
            TestedTerm {
                words: ngram.words.clone(),
                p: p_greater(&prompts, 1.0),
                p_bh: 1.0,
                prompts,
                sizes,
            }
        });
        terms.par_extend(tested);
    }
    let p: Vec<f64> = terms.iter().map(|term| term.p).collect();
    for (term, p_bh) in terms.iter_mut().zip(benjamini_hochberg(&p)) {
        term.p_bh = p_bh;
    }
    terms
}

fn prompt_counts(ngram: &Ngram, sizes: &[[u32; 2]]) -> Vec<PromptCounts> {
    let counts = ngram.counts.iter().map(|(prompt, [a, b])| {
        let [of_a, of_b] = sizes[*prompt as usize].map(f64::from);
        PromptCounts {
            a: f64::from(*a),
            b: f64::from(*b),
            share: of_a / (of_a + of_b),
        }
    });
    counts.collect()
}

impl TestedTerm {
    /// The occurrences in the model's texts.
    pub fn model_count(&self) -> f64 {
        self.prompts.iter().map(|counts| counts.a).sum()
    }

    /// The term with its interval and effect size.
    pub fn term(&self, vocabulary: &Vocabulary) -> Term {
        let words: Vec<&str> = self.words.iter().map(|id| vocabulary.word(*id)).collect();
        let model: f64 = self.model_count();
        let people: f64 = self.prompts.iter().map(|counts| counts.b).sum();
        let (ci_low, ci_high) = interval(&self.prompts);
        let effect = log_odds([model, people], self.sizes);
        Term {
            term: words.join(" "),
            n: words.len(),
            model_count: model as u64,
            people_count: people as u64,
            model_prompts: self.prompts.iter().filter(|counts| counts.a > 0.0).count(),
            people_prompts: self.prompts.iter().filter(|counts| counts.b > 0.0).count(),
            model_rate: model / self.sizes[0],
            people_rate: people / self.sizes[1],
            rate_ratio: rate_ratio(&self.prompts),
            ci_low,
            ci_high,
            log_odds: effect.log_odds,
            z: effect.z,
            p: self.p,
            p_bh: self.p_bh,
        }
    }
}

/// The order of a list of terms: by the lower end of the rate ratio, the largest first; then the smallest p, the
/// longest term and the alphabet.
pub fn by_lower_end(a: &Term, b: &Term) -> Ordering {
    let by_end = b.ci_low.total_cmp(&a.ci_low);
    let by_p = a.p.total_cmp(&b.p);
    let by_length = b.n.cmp(&a.n);
    by_end
        .then(by_p)
        .then(by_length)
        .then_with(|| a.term.cmp(&b.term))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::text::sentences::{Sentences, ids};

    /// Terms of texts that a script counts in dictionaries and tests over all exchanges
    /// (`tests/peers/overused_terms.py`).
    #[test]
    fn terms_equal_those_of_the_script() {
        let golden = include_str!("../../../tests/fixtures/overused_terms.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let case = &golden["terms"];
        let mut vocabulary = Vocabulary::default();
        let groups: Vec<[Vec<Sentences>; 2]> = case["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|groups| {
                [0, 1].map(|side| {
                    let texts = groups[side].as_array().unwrap().iter();
                    let split = |text: &Value| vocabulary.split(text.as_str().unwrap());
                    texts.map(split).collect()
                })
            })
            .collect();
        let ids = groups
            .iter()
            .map(|sides| sides.each_ref().map(|texts| ids(texts)));
        let ids: Vec<Groups<'_>> = ids.collect();
        let min_prompts = case["min_prompts"].as_u64().unwrap() as usize;
        let tested = test_terms(&ids, min_prompts);
        let mut terms: Vec<Term> = tested.iter().map(|term| term.term(&vocabulary)).collect();
        let expected = case["terms"].as_array().unwrap();
        assert_eq!(terms.len(), expected.len());
        for expected in expected {
            let found = terms.iter().find(|term| expected["term"] == *term.term);
            let found = serde_json::to_value(found.unwrap()).unwrap();
            for (name, value) in expected.as_object().unwrap() {
                match (found[name].as_f64(), value.as_f64()) {
                    (Some(ours), Some(theirs)) => assert!(
                        (ours - theirs).abs() <= 1e-9 * theirs.abs(),
                        "{name} of {expected}: {ours}"
                    ),
                    _ => assert_eq!(found[name], *value),
                }
            }
        }
        // The words of the phrase that the script planted come first.
        terms.sort_by(by_lower_end);
        let first = terms[..6].iter();
        assert!(
            first
                .map(|term| &term.term)
                .all(|term| "a quiet testament".contains(term))
        );
    }
}
