//! Text functions of the lexical measures and of terms: tokenization, sentences, n-grams, BLEU, ROUGE and equivalence classes.

pub mod bleu;
pub mod equivalence;
pub mod frequent_ngrams;
pub mod ngrams;
pub mod rouge;
pub mod sentences;
pub mod tokenization;
