//! Which measures does a report show? Their names, what they mean, which way is better.

use serde::Serialize;

/// What a measure looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// How good the texts were found.
    Reward,
    /// How far their vectors lie apart.
    Vectors,
    /// What their words share.
    Words,
    /// How long they are.
    Length,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
    /// It is no matter of better.
    Neither,
}

/// A measure of a model's texts to one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    /// The column of `measures`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it looks at.
    pub group: Group,
    /// Which way is better.
    pub better: Direction,
    /// Its definition in a sentence.
    pub about: &'static str,
}

const fn measure(
    name: &'static str,
    title: &'static str,
    group: Group,
    better: Direction,
    about: &'static str,
) -> Measure {
    Measure {
        name,
        title,
        group,
        better,
        about,
    }
}

/// What the names of the published code's values begin with.
pub const REFERENCE: &str = "reference_";

/// All measures, in the order of the report's columns.
pub const MEASURES: [Measure; 23] = [
    measure(
        "reward",
        "Reward",
        Group::Reward,
        Direction::Higher,
        "The mean reward of the texts.",
    ),
    measure(
        "utility_k",
        "Utility",
        Group::Reward,
        Direction::Higher,
        "NoveltyBench's utility_k: what texts that open a class are worth to a reader of patience 0.8; n/a where rewards fall below 0.",
    ),
    measure(
        "semantic",
        "Semantic diversity",
        Group::Vectors,
        Direction::Higher,
        "The mean of 1 - cosine of all pairs of semantic embeddings.",
    ),
    measure(
        "style",
        "Style diversity",
        Group::Vectors,
        Direction::Higher,
        "The mean of 1 - cosine of all pairs of style embeddings.",
    ),
    measure(
        "semantic_vendi",
        "Semantic Vendi",
        Group::Vectors,
        Direction::Higher,
        "The Vendi score of the semantic embeddings: how many different texts there are, in effect.",
    ),
    measure(
        "semantic_dcscore",
        "Semantic DCScore",
        Group::Vectors,
        Direction::Higher,
        "The sum over texts of the softmax of semantic cosines that falls on the text itself.",
    ),
    measure(
        "semantic_chamfer",
        "Semantic chamfer",
        Group::Vectors,
        Direction::Higher,
        "The mean semantic distance of each text to the one nearest to it.",
    ),
    measure(
        "style_vendi",
        "Style Vendi",
        Group::Vectors,
        Direction::Higher,
        "The Vendi score of the style embeddings.",
    ),
    measure(
        "style_dcscore",
        "Style DCScore",
        Group::Vectors,
        Direction::Higher,
        "The sum over texts of the softmax of style cosines that falls on the text itself.",
    ),
    measure(
        "style_chamfer",
        "Style chamfer",
        Group::Vectors,
        Direction::Higher,
        "The mean style distance of each text to the one nearest to it.",
    ),
    measure(
        "distinct_k",
        "Distinct",
        Group::Words,
        Direction::Higher,
        "NoveltyBench's distinct_k: how many classes of equivalent texts there are.",
    ),
    measure(
        "homogenization",
        "Homogenization",
        Group::Words,
        Direction::Lower,
        "The mean ROUGE-L F1 of all pairs; words in lower case, letters of every script.",
    ),
    measure(
        "self_bleu",
        "Self-BLEU",
        Group::Words,
        Direction::Lower,
        "The mean BLEU-4 of each text against all others; words at white space, smoothing method 1.",
    ),
    measure(
        "self_repetition",
        "Self-repetition",
        Group::Words,
        Direction::Lower,
        "The mean over texts of ln(1 + how often its runs of four words stand in other texts).",
    ),
    measure(
        "compression_ratio",
        "Compression ratio",
        Group::Words,
        Direction::Lower,
        "Bytes over bytes after gzip of the texts joined by spaces.",
    ),
    measure(
        "ngram_diversity",
        "N-gram diversity",
        Group::Words,
        Direction::Higher,
        "The shares of different runs of 1 to 4 words among all, added up; words at single spaces.",
    ),
    measure(
        "distinct_1",
        "Distinct-1",
        Group::Words,
        Direction::Higher,
        "The share of different words among all.",
    ),
    measure(
        "distinct_2",
        "Distinct-2",
        Group::Words,
        Direction::Higher,
        "The share of different pairs of neighbouring words among all.",
    ),
    measure(
        "ead",
        "EAD",
        Group::Words,
        Direction::Higher,
        "Different words over those expected among as many drawn from a vocabulary of 50,000.",
    ),
    measure(
        "reference_homogenization",
        "Homogenization, published code",
        Group::Words,
        Direction::Lower,
        "What the paper's code gives: the last text is lost (0.75 of the true value for four), letters \
         a to z alone.",
    ),
    measure(
        "reference_compression_ratio",
        "Compression ratio, published code",
        Group::Words,
        Direction::Lower,
        "What the paper's code gives: packed twice, which adds 34 bytes.",
    ),
    measure(
        "reference_self_repetition",
        "Self-repetition, published code",
        Group::Words,
        Direction::Lower,
        "What the paper's code gives: every run counts once and again for each other text that has it; \
         it grows with length.",
    ),
    measure(
        "words",
        "Words",
        Group::Length,
        Direction::Neither,
        "The mean number of words of a text; scripts without spaces letter by letter.",
    ),
];

/// The place of a measure.
pub fn index(name: &str) -> Option<usize> {
    MEASURES.iter().position(|measure| measure.name == name)
}
