//! Which aggregates does SQL get? Each gathers a group's values as `array_agg` does, in the order that
//! `ORDER BY` gives, and measures them: the functions of [`crate::measure`], under their names.

mod measured;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use polyphony_engine::Result;
use polyphony_engine::datafusion::logical_expr::AggregateUDF;
use polyphony_engine::datafusion::prelude::SessionContext;

use self::measured::{InputKind, MeasureUdaf, ParamRange, Parameter};
use crate::measure::cosines::cosines;
use crate::measure::{
    chamfer, compression_ratio, compression_ratio_xz, dcscore, distinct_k, distinct_n, ead,
    homogenization, mean_distance, ngram_diversity, pairwise_bleu, self_bleu, self_repetition,
    semantic_entropy, utility_k, vendi,
};

/// Registers every aggregate with a session.
///
/// # Errors
/// None today; the registry may refuse names one day.
pub fn register_all(context: &SessionContext) -> Result<()> {
    for aggregate in all() {
        context.register_udaf(AggregateUDF::from(aggregate));
    }
    Ok(())
}

/// How long runs of words are.
const fn runs_of(value: f64) -> Parameter {
    Parameter {
        name: "n",
        value,
        may_be: ParamRange::Length,
    }
}

const WORDS: Parameter = runs_of(1.0);
const FOUR_WORDS: Parameter = runs_of(4.0);
const VOCABULARY: Parameter = Parameter {
    name: "vocabulary",
    value: ead::VOCABULARY,
    may_be: ParamRange::FromOne,
};
const TAU: Parameter = Parameter {
    name: "tau",
    value: 1.0,
    may_be: ParamRange::AboveZero,
};
const PATIENCE: Parameter = Parameter {
    name: "patience",
    value: utility_k::PATIENCE,
    may_be: ParamRange::BelowOne,
};
const ORDER: Parameter = Parameter {
    name: "q",
    value: 1.0,
    may_be: ParamRange::FromZero,
};

/// Every aggregate. What is undefined for a group is NULL.
fn all() -> Vec<MeasureUdaf> {
    let mut all = of_texts();
    all.extend(of_vectors());
    all.extend(of_classes());
    all
}

fn of_texts() -> Vec<MeasureUdaf> {
    let text = |name, about, parameters, of| {
        MeasureUdaf::new(name, InputKind::Text, about, parameters, of)
    };
    vec![
        text(
            "compression_ratio",
            "Bytes over bytes after gzip of the texts joined by spaces: higher is more repetitive.",
            &[],
            |texts, _| compression_ratio::compression_ratio(&texts_of(&texts[0])),
        ),
        text(
            "compression_ratio_xz",
            "Bytes over bytes after xz of the texts joined by spaces: higher is more repetitive.",
            &[],
            |texts, _| compression_ratio_xz::compression_ratio_xz(&texts_of(&texts[0])),
        ),
        text(
            "distinct_n",
            "The share of different runs of n words among all, none across two texts.",
            &[WORDS],
            |texts, with| distinct_n::distinct_n(&texts_of(&texts[0]), with[0] as usize),
        ),
        text(
            "ead",
            "Different runs of n words over those expected among as many drawn from a vocabulary.",
            &[WORDS, VOCABULARY],
            |texts, with| ead::ead(&texts_of(&texts[0]), with[0] as usize, with[1]),
        ),
        text(
            "homogenization",
            "The mean ROUGE-L F1 of all pairs of texts.",
            &[],
            |texts, _| homogenization::homogenization(&texts_of(&texts[0])),
        ),
        text(
            "ngram_diversity",
            "The shares of different runs of 1 to n words, added up; runs cross from text to text.",
            &[FOUR_WORDS],
            |texts, with| ngram_diversity::ngram_diversity(&texts_of(&texts[0]), with[0] as usize),
        ),
        text(
            "pairwise_bleu",
            "The mean BLEU of all ordered pairs of texts, smoothed by method 1.",
            &[FOUR_WORDS],
            |texts, with| pairwise_bleu::pairwise_bleu(&texts_of(&texts[0]), with[0] as usize),
        ),
        text(
            "self_bleu",
            "The mean BLEU of each text against all others, smoothed by method 1.",
            &[FOUR_WORDS],
            |texts, with| self_bleu::self_bleu(&texts_of(&texts[0]), with[0] as usize),
        ),
        text(
            "self_repetition",
            "The mean over texts of ln(1 + how often its runs of n words stand in other texts).",
            &[FOUR_WORDS],
            |texts, with| self_repetition::self_repetition(&texts_of(&texts[0]), with[0] as usize),
        ),
    ]
}

fn of_vectors() -> Vec<MeasureUdaf> {
    let vector = |name, about, parameters, of| {
        MeasureUdaf::new(name, InputKind::Vector, about, parameters, of)
    };
    vec![
        vector(
            "chamfer",
            "The mean over vectors of the smallest 1 - cosine to another.",
            &[],
            |vectors, _| with_cosines(&vectors[0], chamfer::chamfer),
        ),
        vector(
            "dcscore",
            "The sum over vectors of the softmax of cosines over tau that falls on itself.",
            &[TAU],
            |vectors, with| {
                with_cosines(&vectors[0], |cosines, n| {
                    dcscore::dcscore(cosines, n, with[0])
                })
            },
        ),
        vector(
            "mean_distance",
            "The mean of 1 - cosine of all pairs of vectors: the paper's diversity of a set.",
            &[],
            |vectors, _| with_cosines(&vectors[0], mean_distance::mean_distance),
        ),
        vector(
            "vendi",
            "The Vendi score of order q: how many different vectors there are, in effect.",
            &[ORDER],
            |vectors, with| {
                with_cosines(&vectors[0], |cosines, n| vendi::vendi(cosines, n, with[0]))
            },
        ),
    ]
}

fn of_classes() -> Vec<MeasureUdaf> {
    let class = |name, about, of| MeasureUdaf::new(name, InputKind::Class, about, &[], of);
    vec![
        class(
            "distinct_k",
            "How many classes there are among the rows (NoveltyBench).",
            |classes, _| distinct_k::distinct_k(&classes_of(&classes[0])),
        ),
        class(
            "semantic_entropy",
            "The entropy of the classes of the rows, in nats.",
            |classes, _| semantic_entropy::semantic_entropy(&classes_of(&classes[0])),
        ),
        MeasureUdaf::new(
            "utility_k",
            InputKind::ClassAndUtility,
            "What the rows are worth to a reader who reads on with a probability of `patience` and gains \
             from the first row of a class alone (NoveltyBench); NULL where a row has no class or utility.",
            &[PATIENCE],
            |columns, with| {
                let whole = columns.iter().all(|column| column.null_count() == 0);
                let utilities = columns[1].as_primitive::<Float64Type>().values();
                let classes = classes_of(&columns[0]);
                let utility = || utility_k::utility_k(&classes, utilities, with[0]);
                whole.then(utility).flatten()
            },
        ),
    ]
}

fn texts_of(values: &ArrayRef) -> Vec<&str> {
    values.as_string::<i32>().iter().flatten().collect()
}

fn classes_of(values: &ArrayRef) -> Vec<i64> {
    values
        .as_primitive::<Int64Type>()
        .iter()
        .flatten()
        .collect()
}

/// Measures the cosines of the vectors that are there.
fn with_cosines(
    values: &ArrayRef,
    measure: impl FnOnce(&[f64], usize) -> Option<f64>,
) -> Option<f64> {
    let lists = values.as_list::<i32>();
    let present: Vec<ArrayRef> = lists.iter().flatten().collect();
    let rows: Vec<&[f32]> = present
        .iter()
        .map(|row| &**row.as_primitive::<Float32Type>().values())
        .collect();
    let same = rows.windows(2).all(|pair| pair[0].len() == pair[1].len());
    same.then(|| measure(&cosines(&rows), rows.len())).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use polyphony_engine::datafusion::logical_expr::AggregateUDFImpl;

    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let all = all();
        let names: HashSet<&str> = all.iter().map(MeasureUdaf::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(
            all.iter()
                .all(|aggregate| aggregate.documentation().is_some())
        );
    }
}
