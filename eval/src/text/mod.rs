//! Texts: tokenization, n-grams, BLEU, ROUGE and equivalence classes, which the measures of words build on.

pub mod bleu;
pub mod equivalence;
pub mod ngrams;
pub mod repetition;
pub mod rouge;
pub mod tokenization;
