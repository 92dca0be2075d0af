//! Text functions of the lexical measures: tokenization, n-grams, BLEU, ROUGE and equivalence classes.

pub mod bleu;
pub mod equivalence;
pub mod ngrams;
pub mod rouge;
pub mod tokenization;
