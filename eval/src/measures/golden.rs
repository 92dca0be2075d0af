//! Golden values of the measures: `tests/fixtures/eval.json`, computed with diversity 0.3.1, vendi-score 0.0.3,
//! rouge-score, nltk, sacrebleu and the paper's scripts.

use serde_json::Value;

use super::chamfer::chamfer;
use super::compression_ratio::compression_ratio;
use super::dcscore::dcscore;
use super::distinct_k::distinct_k;
use super::distinct_n::distinct_n;
use super::ead::{VOCABULARY, ead};
use super::homogenization::homogenization;
use super::mean_distance::mean_distance;
use super::ngram_diversity::ngram_diversity;
use super::pairwise_bleu::{pairwise, pairwise_bleu};
use super::reference_compression_ratio::reference_compression_ratio;
use super::reference_homogenization::reference_homogenization;
use super::reference_self_repetition::reference_self_repetition;
use super::self_bleu::{self_bleu, self_bleus};
use super::self_repetition::self_repetition;
use super::semantic_entropy::semantic_entropy;
use super::utility_k::{PATIENCE, of_skywork, utility_k};
use super::vendi::{eigenvalues, vendi};
use crate::cosines::cosines;
use crate::text::bleu::Smoothing;
use crate::text::rouge::{LcsMatcher, rouge_1};
use crate::text::tokenization::{TokenIds, Tokenization};
use polyphony_io::random::SplitMix64;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/eval.json")).unwrap()
}

/// The number of a fixture value; `None` for NaN, and where the reference implementation raises.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some("nan") => None,
        Some(other) => panic!("{other}"),
        None if value.get("raises").is_some() => None,
        None => Some(value.as_f64().unwrap()),
    }
}

fn assert_near(name: &str, ours: Option<f64>, golden: &Value, tolerance: f64) {
    let near = match (ours, number(golden)) {
        (Some(ours), Some(golden)) => ours == golden || (ours - golden).abs() <= tolerance,
        (None, None) => true,
        _ => false,
    };
    assert!(near, "{name}: {ours:?} is not {golden}");
}

#[test]
fn measures_of_texts() {
    let golden = golden();
    let sets = golden["sets"].as_object().unwrap();
    assert_eq!(sets.len(), 6);
    for (set, values) in sets {
        let texts = values["texts"].as_array().unwrap();
        let texts: Vec<&str> = texts.iter().map(|text| text.as_str().unwrap()).collect();
        let expected = &values["lexical"];
        let near = |name: &str, ours: Option<f64>| {
            assert_near(&format!("{name} of {set}"), ours, &expected[name], 1e-9);
        };
        let counts = |tokenization: Tokenization| {
            let words = TokenIds::new(&texts, tokenization);
            words.texts.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(
            serde_json::json!(counts(Tokenization::Whitespace)),
            expected["whitespace_words"]
        );
        assert_eq!(
            serde_json::json!(counts(Tokenization::Rouge)),
            expected["rouge_tokens"]
        );

        let compression = &expected["compression"];
        let ratio = &compression["ratio_single_gzip9"];
        assert_near(set, compression_ratio(&texts), ratio, 0.01);
        let ratio = &compression["ratio_reference_double_gzip"];
        assert_near(set, reference_compression_ratio(&texts), ratio, 0.01);

        near("rougeL_mean_pairwise", homogenization(&texts));
        near(
            "homogenization_rougel_upstream_0_3_1",
            homogenization(&texts),
        );
        near(
            "homogenization_rougel_diversitytuning_copy",
            reference_homogenization(&texts),
        );
        if texts.len() > 1 {
            near("rouge1_mean_pairwise", rouge_1(&texts));
            let noveltybench = pairwise(&texts, 4, Tokenization::Bleu13a, Smoothing::Exponential);
            near("noveltybench_bleu_mean_pairwise", noveltybench);
        }
        for n in 1..=4 {
            let name = format!("ngram_diversity_{n}");
            near(&name, ngram_diversity(&texts, n));
            let name = format!("distinct {n} of {set}");
            let expected = &expected["distinct"][n.to_string()];
            assert_near(&name, distinct_n(&texts, n), expected, 1e-9);
        }
        for n in 1..=2 {
            let expected = &expected["ead_V50000"][n.to_string()];
            assert_near(set, ead(&texts, n, VOCABULARY), expected, 1e-9);
        }
        near(
            "self_repetition_4_upstream_0_3_1",
            self_repetition(&texts, 4),
        );
        near(
            "self_repetition_4_diversitytuning_copy",
            reference_self_repetition(&texts, 4),
        );
        for n in 2..=4 {
            let name = format!("self_bleu{n}_whitespace_method1");
            near(&name, self_bleu(&texts, n));
        }
        near(
            "pairwise_bleu4_whitespace_method1",
            pairwise_bleu(&texts, 4),
        );
        let each = self_bleus(&texts, 4).unwrap_or_default();
        let expected_each = expected["self_bleu4_per_response"].as_array().unwrap();
        assert_eq!(each.len(), expected_each.len());
        for (ours, golden) in each.iter().zip(expected_each) {
            assert_near(set, Some(*ours), golden, 1e-9);
        }
        // `evaluate` divides by zero where a text is empty; BLEU of an empty text is 0 here.
        let evaluate = pairwise(&texts, 4, Tokenization::Bleu13a, Smoothing::None);
        if set == "with_empty_string" {
            assert!(evaluate.is_some_and(f64::is_finite));
        } else {
            near("homogenization_bleu_hf_mean_pairwise", evaluate);
        }
        let words = TokenIds::new(&texts, Tokenization::Rouge);
        let mut matcher = LcsMatcher::new(words.vocab_size);
        for (i, a) in words.texts.iter().enumerate() {
            for (j, b) in words.texts.iter().enumerate().filter(|(j, _)| i != *j) {
                let cell = &expected["rougeL_matrix"][i][j];
                assert_near(set, Some(matcher.rouge_l(a, b)), cell, 1e-9);
            }
        }
    }
}

/// Pseudo-random vectors as the fixture's `embeddings` note defines them.
fn vectors(case: &Value) -> Vec<Vec<f32>> {
    let (n, dimension) = (case["n"].as_u64().unwrap(), case["dim"].as_u64().unwrap());
    let mut random = SplitMix64(case["seed"].as_u64().unwrap());
    let mut draw = || (random.next_u64() >> 40) as f32 / 8_388_608.0 - 1.0;
    let mut row = || (0..dimension).map(|_| draw()).collect::<Vec<f32>>();
    let note = case["note"].as_str().unwrap();
    let shared = case["shared_component"].as_bool().unwrap();
    // The script that made the fixture samples this vector in every case, but adds it only if
    // `shared_component` is set.
    let common = row();
    let mut rows: Vec<Vec<f32>> = (0..n).map(|_| row()).collect();
    if note.contains("identical") {
        rows = vec![rows[0].clone(); n as usize];
    }
    if shared {
        for row in &mut rows {
            row.iter_mut()
                .zip(&common)
                .for_each(|(value, shared)| *value += shared);
        }
    }
    rows
}

#[test]
fn measures_of_vectors() {
    let golden = golden();
    let cases = golden["embedding_metrics"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let rows = vectors(case);
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let n = rows.len();
        let cosines = cosines(&rows);
        for i in 0..n {
            for j in 0..n {
                let expected = &case["cosine_matrix"][i][j];
                assert_near("cosine", Some(cosines[i * n + j]), expected, 1e-12);
            }
        }
        let shares: Vec<f64> = cosines.iter().map(|cosine| cosine / n as f64).collect();
        let expected = case["eigenvalues_of_K_over_n_desc"].as_array().unwrap();
        for (ours, golden) in eigenvalues(&shares, n).into_iter().zip(expected) {
            assert_near("eigenvalue", Some(ours), golden, 1e-12);
        }
        let near = |name: &str, ours| assert_near(name, ours, &case[name], 1e-9);
        for (name, q) in [("0.5", 0.5), ("1", 1.0), ("2", 2.0), ("inf", f64::INFINITY)] {
            let expected = &case["vendi"][name];
            if expected.is_null() {
                assert!(name == "0.5" && case["note"].as_str().unwrap().contains("identical"));
                continue;
            }
            assert_near(
                &format!("vendi {name}"),
                vendi(&cosines, n, q),
                expected,
                1e-9,
            );
            // The dual form uses the eigenvalues of the covariance matrix, and gives the same score.
            let dual = &case["vendi_dual"][name];
            if dual.is_number() {
                assert_near(name, vendi(&cosines, n, q), dual, 1e-9);
            }
        }
        near("mean_pairwise_cosine_distance", mean_distance(&cosines, n));
        near("chamfer", chamfer(&cosines, n));
        near("dcscore_tau1", dcscore(&cosines, n, 1.0));
        // The package's remote clique is a mean distance that includes the zeros of the diagonal.
        let remote = mean_distance(&cosines, n).map(|d| d * (n - 1) as f64 / n as f64);
        near("remote_clique_diversity_pkg", remote);
    }
}

#[test]
fn measures_of_classes() {
    let golden = golden();
    let case = &golden["misc"]["noveltybench"];
    let numbers = |name: &str| -> Vec<f64> {
        let values = case[name].as_array().unwrap();
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let classes: Vec<i64> = numbers("partition").into_iter().map(|c| c as i64).collect();
    let utilities: Vec<f64> = numbers("raw_rewards").into_iter().map(of_skywork).collect();
    assert_eq!(utilities, numbers("score_1_to_10"));
    assert_near("distinct_k", distinct_k(&classes), &case["distinct_k"], 0.0);
    let utility = utility_k(&classes, &utilities, PATIENCE);
    assert_near("utility_k", utility, &case["utility_k"], 1e-12);
    let expected = &golden["misc"]["discrete_semantic_entropy_nats"];
    // The fixture's entropy is of ten texts in five classes, as in `partition` above.
    let entropy = semantic_entropy(&classes);
    assert_near("semantic_entropy", entropy, expected, 1e-12);
}
