//! Overused terms ("slop"): words and phrases that a model uses more than people do to the same prompts.
//!
//! Every word and phrase of two or three words that occurs at [`MIN_PROMPTS`] prompts at least is tested over prompts
//! ([`crate::stats::exchange_test`]); p-values are corrected for all of them (Benjamini and Hochberg). The idea to
//! compare word frequencies by log-odds with a prior is that of Monroe, Colaresi and Quinn (2008); their z takes
//! every occurrence to be independent, so it is shown as an effect size, and significance is that of the test over
//! prompts. People compared with other people have no overused term, except in at most 5 % of comparisons.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use super::terms::{MIN_PROMPTS, Term, TestedTerm, by_lower_end, test_terms};
use crate::evaluation::Evaluation;
use crate::outputs::GOLD;
use crate::text::frequent_ngrams::Groups;
use crate::text::sentences::{Sentences, Vocabulary};

/// The false discovery rate among the terms of a model.
pub const FALSE_DISCOVERY_RATE: f64 = 0.05;
/// The largest number of terms that a report lists for a model.
const LISTED: usize = 50;
/// A term is not listed if this share of its occurrences lies in a longer overused term.
const CONTAINED: f64 = 0.9;
/// The number of examples of a term, each of another prompt.
const EXAMPLES: usize = 3;
/// The number of characters before and after a term in an example.
const CONTEXT: usize = 60;

/// The overused terms of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverusedTerms {
    /// The model.
    pub model: String,
    /// The number of prompts with texts of the model and of people.
    pub prompts: usize,
    /// The number of terms that were tested.
    pub tested: usize,
    /// The number of terms with p below 5 % after the correction, listed or not.
    pub overused: usize,
    /// The first 50 of them, by the lower end of the rate ratio, without those that lie in a longer one.
    pub terms: Vec<OverusedTerm>,
}

/// An overused term, with examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverusedTerm {
    /// The term with its numbers.
    #[serde(flatten)]
    pub term: Term,
    /// Places in the model's texts, each of another prompt.
    pub examples: Vec<Example>,
}

/// A place in a text. White space is single spaces; `…` stands for what is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The prompt of the text.
    pub prompt_id: String,
    /// What comes before the term.
    pub before: String,
    /// The term as it is in the text.
    pub text: String,
    /// What comes after the term.
    pub after: String,
}

/// A text of a model with its words.
struct Split<'a> {
    text: &'a str,
    words: Sentences,
}

/// The overused terms of every model. Empty without people's texts. The texts of all runs of a model count together.
pub fn overused_terms(evaluation: &Evaluation<'_>) -> Vec<OverusedTerms> {
    let models = &evaluation.models;
    let Some(people) = models.iter().position(|name| name == GOLD) else {
        return Vec::new();
    };
    let mut vocabulary = Vocabulary::default();
    let texts: Vec<Vec<Vec<Split<'_>>>> = evaluation
        .cells
        .iter()
        .map(|row| {
            let cells = row.iter().map(|cell| {
                let texts = cell.iter().flat_map(|cell| &cell.texts);
                let texts = texts.map(|text| Split {
                    text: &text.output.response,
                    words: vocabulary.split(&text.output.response),
                });
                texts.collect()
            });
            cells.collect()
        })
        .collect();
    let others = (0..models.len()).filter(|model| *model != people);
    let entries = others.map(|model| {
        let prompts = 0..evaluation.prompts.len();
        let has_both = |at: &usize| !texts[model][*at].is_empty() && !texts[people][*at].is_empty();
        let prompts: Vec<usize> = prompts.filter(has_both).collect();
        let groups = prompts.iter().map(|&at| {
            [model, people].map(|side| {
                let texts = texts[side][at].iter();
                texts.map(|text| text.words.ids.as_slice()).collect()
            })
        });
        let groups: Vec<Groups<'_>> = groups.collect();
        let tested = test_terms(&groups, MIN_PROMPTS);
        let is_overused = |term: &&TestedTerm| term.p_bh <= FALSE_DISCOVERY_RATE;
        let overused: Vec<&TestedTerm> = tested.iter().filter(is_overused).collect();
        let listed = listed(&overused, &vocabulary);
        let terms = listed.into_par_iter().map(|(tested, term)| {
            let occurrences = prompts.iter().filter_map(|&at| {
                let mut texts = texts[model][at].iter();
                let (text, place) = texts.find_map(|text| {
                    let place = find(&text.words, &tested.words)?;
                    Some((text.text, place))
                })?;
                Some(example(&evaluation.prompts[at].0, text, place))
            });
            OverusedTerm {
                term,
                examples: spread(occurrences.collect()),
            }
        });
        OverusedTerms {
            model: models[model].clone(),
            prompts: prompts.len(),
            tested: tested.len(),
            overused: overused.len(),
            terms: terms.collect(),
        }
    });
    entries.collect()
}

/// The terms that a report lists, in order.
fn listed<'a>(overused: &[&'a TestedTerm], vocabulary: &Vocabulary) -> Vec<(&'a TestedTerm, Term)> {
    // By shorter phrase: the most of its occurrences that one longer term accounts for.
    let mut covered: HashMap<&[u32], f64> = HashMap::new();
    for term in overused {
        for n in 1..term.words.len() {
            let mut within: HashMap<&[u32], f64> = HashMap::new();
            for part in term.words.windows(n) {
                *within.entry(part).or_default() += term.model_count();
            }
            for (part, count) in within {
                let most = covered.entry(part).or_default();
                *most = most.max(count);
            }
        }
    }
    let is_own = |term: &&&TestedTerm| {
        let covered = covered.get(term.words.as_slice()).copied();
        covered.unwrap_or_default() < CONTAINED * term.model_count()
    };
    let terms: Vec<&TestedTerm> = overused.iter().filter(is_own).copied().collect();
    let terms = terms.into_par_iter();
    let mut terms: Vec<(&TestedTerm, Term)> = terms
        .map(|tested| (tested, tested.term(vocabulary)))
        .collect();
    terms.sort_by(|(_, a), (_, b)| by_lower_end(a, b));
    terms.truncate(LISTED);
    terms
}

/// The bytes of the first place where a text has these words one after the other.
fn find(text: &Sentences, words: &[u32]) -> Option<Range<usize>> {
    let at = text.ids.windows(words.len()).position(|ids| ids == words)?;
    Some(text.places[at].start..text.places[at + words.len() - 1].end)
}

/// The first, the last and the middle one of more examples than are shown.
fn spread(examples: Vec<Example>) -> Vec<Example> {
    let count = examples.len();
    if count <= EXAMPLES {
        return examples;
    }
    let shown = (0..EXAMPLES).map(|at| at * (count - 1) / (EXAMPLES - 1));
    shown.map(|at| examples[at].clone()).collect()
}

/// A place with its context, cut between words.
fn example(prompt_id: &str, text: &str, place: Range<usize>) -> Example {
    let (before, after) = (&text[..place.start], &text[place.end..]);
    let start = before.char_indices().rev().take(CONTEXT).last();
    let start = match start {
        // Leaves out a word that is cut, unless it is all there is.
        Some((at, _)) if at > 0 => {
            let space = before[at..].find(char::is_whitespace);
            space.map_or(at, |space| at + space)
        }
        _ => 0,
    };
    let end = after.char_indices().nth(CONTEXT).map(|(at, _)| at);
    let end = end.map_or(after.len(), |at| {
        after[..at].rfind(char::is_whitespace).unwrap_or(at)
    });
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    Example {
        prompt_id: prompt_id.to_owned(),
        before: cut(start > 0).to_owned() + single_spaces(&before[start..]).trim_start(),
        text: single_spaces(&text[place]),
        after: single_spaces(&after[..end]).trim_end().to_owned() + cut(end < after.len()),
    }
}

/// Replaces white space and control characters by single spaces.
fn single_spaces(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else {
            line.push(letter);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sentences::ids;

    #[test]
    fn examples_are_cut_between_words() {
        let text = format!(
            "{} gave\n\na  quiet nod, {}",
            "word ".repeat(30),
            "and ".repeat(30)
        );
        let place = text.find("quiet").unwrap();
        let found = example("p", &text, place..place + 5);
        assert!(found.before.starts_with("…word word") && found.before.ends_with("word gave a "));
        assert!(found.after.starts_with(" nod, and") && found.after.ends_with(" and…"));
        assert!(
            found.before.chars().count() <= CONTEXT + 1
                && found.after.chars().count() <= CONTEXT + 1
        );
        let short = example("p", "雪の王", 3..6);
        assert_eq!(
            (&*short.before, &*short.text, &*short.after),
            ("雪", "の", "王")
        );
        let long = example("p", &"雪".repeat(200), 300..303);
        assert_eq!(long.before.chars().count(), CONTEXT + 1);
        assert_eq!(long.after.chars().count(), CONTEXT + 1);
    }

    #[test]
    fn examples_are_spread_over_prompts() {
        let example = |at: usize| example(&at.to_string(), "a", 0..1);
        let shown = spread((0..9).map(example).collect());
        let prompts: Vec<&str> = shown.iter().map(|shown| &*shown.prompt_id).collect();
        assert_eq!(prompts, ["0", "4", "8"]);
        assert_eq!(spread((0..2).map(example).collect()).len(), 2);
    }

    /// The model writes "a testament to" in each text, sometimes "testament" alone; people never do.
    #[test]
    fn a_term_within_a_longer_one_is_not_listed() {
        let mut vocabulary = Vocabulary::default();
        let mut split = |text: &str| vec![vocabulary.split(text)];
        let groups: Vec<[Vec<Sentences>; 2]> = (0..40)
            .map(|at| {
                let also = if at % 3 == 0 { "Their testament. " } else { "" };
                [
                    split(&format!("{also}The sky was a testament to the sun.")),
                    split("The sky was as blue as the sun. To the sun, a word."),
                ]
            })
            .collect();
        let ids = groups
            .iter()
            .map(|sides| sides.each_ref().map(|texts| ids(texts)));
        let ids: Vec<Groups<'_>> = ids.collect();
        let tested = test_terms(&ids, MIN_PROMPTS);
        let overused: Vec<&TestedTerm> = tested.iter().filter(|term| term.p_bh <= 0.05).collect();
        let listed = listed(&overused, &vocabulary);
        let terms: Vec<&str> = listed.iter().map(|(_, term)| &*term.term).collect();
        assert!(overused.len() > listed.len());
        // "testament to" is always in "a testament to"; "testament" is also alone.
        assert!(
            terms.contains(&"a testament to") && terms.contains(&"testament"),
            "{terms:?}"
        );
        assert!(
            !terms.contains(&"testament to") && !terms.contains(&"a testament"),
            "{terms:?}"
        );
    }
}
