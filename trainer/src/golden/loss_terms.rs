//! Golden tests of loss terms: the SFT term of DPO, the devices of DORPO's published form, pairs of weight 0.

use candle_core::Tensor;
use polyphony_model::chat::Chat;
use polyphony_model::decoder::Head;
use serde_json::Value;

use super::{
    assert_golden, files, fixture, gradients, json, messages, norm, number, objective, policy, rows,
};
use crate::data::example::Example;
use crate::loss::metric_sums::MetricSums;
use crate::loss::objective::{DorpoForm, Objective, PairConstants};
use crate::method::Method;
use crate::run::micro_batch::{MicroBatcher, TrainItem};

/// Asserts the loss and the gradients of all cases of a file of golden values; returns their number.
fn assert_cases(file: &str, objective_of: impl Fn(&Value) -> Objective) -> usize {
    let expected = json(&fixture("..").join(file));
    let cases = expected["cases"].as_array().unwrap();
    for case in cases {
        let name = case["model"].as_str().unwrap();
        let devices = number(&case["devices"]) as usize;
        let policy = policy(name, Head::Lm);
        let actual = gradients(&policy, &objective_of(case), name, devices, false);
        assert_golden(&policy, &actual, &case["loss"], &case["grad"]);
    }
    cases.len()
}

/// DPO and DDPO with an SFT term, over one and four devices, by TRL's `DPOTrainer`
/// (`tests/peers/dpo_sft.py`).
#[test]
fn sft_terms_match_trl() {
    let cases = assert_cases("dpo_sft.json", |case| Objective {
        dpo_loss: serde_json::from_value(case["loss_type"].clone()).unwrap(),
        sft_weight: number(&case["sft_weight"]),
        ..objective(serde_json::from_value(case["method"].clone()).unwrap())
    });
    assert_eq!(cases, 8);
}

/// The published form of DORPO over one and four devices, by PyTorch (`tests/peers/dorpo_reference.py`).
#[test]
fn reference_form_of_dorpo_matches_pytorch() {
    let cases = assert_cases("dorpo_reference.json", |_| Objective {
        dorpo_form: DorpoForm::Reference,
        ..objective(Method::Dorpo)
    });
    assert_eq!(cases, 4);
}

/// ORPO with the mean over all tokens of the batch is TRL's. The loss is that of TRL 1.16's experimental
/// `ORPOTrainer` on the golden pairs in one batch, beta 0.25.
#[test]
fn orpo_by_tokens_matches_trl() {
    let objective = Objective {
        dorpo_form: DorpoForm::Reference,
        ..objective(Method::Orpo)
    };
    let (loss, _) = gradients(&policy("llama", Head::Lm), &objective, "llama", 1, false);
    assert!((loss / 6.876_271_247_8 - 1.0).abs() < 1e-6, "{loss}");
}

/// The golden pairs as examples with other weights, and their constants.
fn weighted(objective: &Objective, weights: &[f64]) -> Vec<(Example, PairConstants)> {
    let chat = Chat::load(&files("llama")).unwrap();
    let (_, constants, _) = super::batch("llama", objective, 1);
    let rows = rows("llama");
    let pairs = rows.iter().zip(constants).zip(weights).enumerate();
    let pair = |(row, ((values, constants), &weight)): (usize, ((&Value, PairConstants), &f64))| {
        let text = |side: &str| {
            chat.tokenize_chat(&messages(&values["prompt"]), &messages(&values[side]))
                .unwrap()
        };
        let example = Example {
            chosen: text("chosen"),
            rejected: Some(text("rejected")),
            weight,
            score: 0.0,
            prompt_hash: 0,
            row,
        };
        (
            example,
            PairConstants {
                weight,
                ..constants
            },
        )
    };
    pairs.map(pair).collect()
}

/// A weight of 0 gives the gradients of the smallest weights that are not skipped, whose derivatives are 0 in
/// f32: bit for bit where each pair is a micro-batch of its own, otherwise but for rounding, as the pairs that
/// are left are divided into other micro-batches.
#[test]
fn skipped_pairs_leave_loss_and_gradients_as_they_are() {
    let policy = policy("llama", Head::Lm);
    let weights = |zero: f64| [zero, 1.5, zero, zero, 0.5, 2.0, 1.25, zero];
    let pass = |objective: Objective, tokens: usize, weights: [f64; 8]| {
        let pairs = weighted(&objective, &weights);
        let items: Vec<TrainItem<'_>> = pairs.iter().map(|(e, c)| (e, c)).collect();
        let batcher = MicroBatcher::new(objective, None, tokens, false);
        batcher.forward_backward(&policy, &items).unwrap()
    };
    let values = |gradients: &[Tensor]| -> Vec<Vec<f32>> {
        let flat = gradients.iter().map(|g| g.flatten_all().unwrap().to_vec1());
        flat.map(Result::unwrap).collect()
    };
    for method in [Method::Ddpo, Method::Dorpo] {
        let (sums, gradients) = pass(objective(method), 1, weights(0.0));
        let (all_sums, all_gradients) = pass(objective(method), 1, weights(1e-300));
        assert_eq!((sums.examples, all_sums.examples), (4, 8));
        assert_eq!(sums.loss, all_sums.loss);
        assert_eq!(values(&gradients), values(&all_gradients));
        let (sums, gradients) = pass(objective(method), 1024, weights(0.0));
        assert!((sums.loss - all_sums.loss).abs() < 1e-6);
        for (gradient, all) in gradients.iter().zip(&all_gradients) {
            let off = norm(&(gradient - all).unwrap());
            assert!(off <= 1e-5 * norm(all), "{off}");
        }
    }
    // Terms without the weight need every pair.
    for objective in [
        Objective {
            sft_weight: 0.1,
            ..objective(Method::Ddpo)
        },
        Objective {
            dorpo_form: DorpoForm::Reference,
            ..objective(Method::Dorpo)
        },
        objective(Method::Dpo),
    ] {
        let (sums, _) = pass(objective, 1024, weights(0.0));
        assert_eq!(sums.examples, 8, "{objective:?}");
    }
    // Gradients are zero where all pairs of a step are skipped.
    let (sums, gradients) = pass(objective(Method::Ddpo), 1024, [0.0; 8]);
    assert_eq!(sums, MetricSums::default());
    assert!(gradients.iter().all(|gradient| norm(gradient) == 0.0));
}
