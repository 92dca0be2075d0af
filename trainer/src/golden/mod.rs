//! Golden tests of the trainer: losses and gradients of small random models, compared with PyTorch and with
//! candle's autograd.
//!
//! Expected values are from transformers 5.23, peft 0.21 and torch 2.15 on the CPU in f32.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, Var};
use polyphony_model::chat::{Chat, Message};
use polyphony_model::decoder::Head;
use polyphony_model::decoder::packed::PackedSequences;
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;
use polyphony_model::tokenizer::SpecialTokens;
use serde_json::{Value, json};

use crate::data::batch::Batch;
use crate::loss::dpo::DpoLoss;
use crate::loss::objective::{DorpoForm, Objective, PairConstants};
use crate::loss::reward::RewardLoss;
use crate::loss::step_totals::{DeviceTotals, StepTotals};
use crate::loss::token_metrics::TokenMetrics;
use crate::method::Method;
use crate::policy::Gradients;
use crate::policy::Policy;
use polyphony_model::lora::Adapter;

/// Losses and gradients of every decoder family.
mod families;
/// Terms of the loss: SFT term, devices of DORPO's published form, pairs of weight 0.
mod loss_terms;

const MODELS: [&str; 2] = ["llama", "mistral"];
/// The models of `tests/peers/families.py`, which share the pairs of `families.jsonl`.
const FAMILIES: [&str; 5] = ["llama32", "smollm2", "qwen2", "qwen3", "gemma3"];
const METHODS: [Method; 4] = [Method::Dpo, Method::Ddpo, Method::Orpo, Method::Dorpo];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/models/{name}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn files(name: &str) -> ModelFiles {
    ModelFiles::find_model(fixture(name).join("model").to_str().unwrap()).unwrap()
}

fn policy(name: &str, head: Head) -> Policy {
    let mut policy = Policy::load(&files(name), head, DeviceSpec::Cpu).unwrap();
    let adapter = Adapter::read(&fixture(name).join("adapter")).unwrap();
    policy.load_adapter(&adapter).unwrap();
    policy
}

fn rows(name: &str) -> Vec<Value> {
    let own = fixture(name).join("pairs.jsonl");
    let shared = fixture("families.jsonl");
    let text = std::fs::read_to_string(if own.exists() { own } else { shared }).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn messages(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The golden pairs as one batch, with their reference log-probabilities; for methods without pairs the chosen
/// texts alone. `devices` is the number of devices that the pairs are divided over.
fn batch(
    name: &str,
    objective: &Objective,
    devices: usize,
) -> (Batch, Vec<PairConstants>, Vec<StepTotals>) {
    let with_prompt = objective.includes_prompt_targets();
    let chat = Chat::load(&files(name)).unwrap();
    let expected = json(&fixture(name).join("expected.json"));
    let mut batch = Batch::default();
    let mut constants = Vec::new();
    for (row, pair) in rows(name).iter().zip(expected["pairs"].as_array().unwrap()) {
        for (side, with_prompt) in [("chosen", with_prompt), ("rejected", false)] {
            if side == "rejected" && !objective.has_pairs() {
                continue;
            }
            let tokens = chat.tokenize_chat(&messages(&row["prompt"]), &messages(&row[side]));
            batch.add(&tokens.unwrap(), with_prompt);
        }
        constants.push(PairConstants {
            weight: number(&row["weight"]),
            ref_chosen: number(&pair["ref_logp_chosen"]),
            ref_rejected: number(&pair["ref_logp_rejected"]),
        });
    }
    let texts_per_example = if objective.has_pairs() { 2 } else { 1 };
    let chosen = batch.texts.iter().step_by(texts_per_example);
    let chosen_tokens: Vec<usize> = chosen.map(|rows| rows.all.len()).collect();
    let per_device = constants.len() / devices;
    let totals = (0..constants.len()).map(|index| {
        let device = index / per_device * per_device;
        let device = device..device + per_device;
        let weights = constants[device.clone()].iter().map(|pair| pair.weight);
        StepTotals {
            examples: constants.len(),
            device: DeviceTotals {
                examples: per_device,
                weights: weights.sum(),
                chosen_tokens: chosen_tokens[device].iter().sum(),
            },
        }
    });
    let totals = totals.collect();
    (batch, constants, totals)
}

fn objective(method: Method) -> Objective {
    Objective {
        method,
        beta: 0.1,
        lambda: 0.25,
        dpo_loss: DpoLoss::Sigmoid,
        label_smoothing: 0.0,
        sft_weight: 0.0,
        dorpo_form: DorpoForm::Weighted,
        train_on_prompts: false,
        reward_loss: RewardLoss::L1,
    }
}

/// Whether a value is within a relative tolerance; expected values below 1e-3 count as 1e-3.
fn near(actual: f64, expected: f64, tolerance: f64) -> bool {
    (actual - expected).abs() <= tolerance * expected.abs().max(1e-3)
}

#[test]
fn token_ids_match_transformers() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let chat = Chat::load(&files(name)).unwrap();
        let expected = json(&fixture(name).join("expected.json"));
        for (row, pair) in rows(name).iter().zip(expected["pairs"].as_array().unwrap()) {
            for side in ["chosen", "rejected"] {
                let tokens = chat.tokenize_chat(&messages(&row["prompt"]), &messages(&row[side]));
                let tokens = tokens.unwrap();
                assert_eq!(json!(tokens.ids), pair[format!("{side}_ids")], "{name}");
                assert_eq!(json!(tokens.prompt_len), pair["prompt_len"], "{name}");
            }
        }
    }
}

#[test]
fn log_probabilities_match_transformers() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let expected = json(&fixture(name).join("expected.json"));
        let mut policy = policy(name, Head::Lm);
        let (batch, _, _) = batch(name, &objective(Method::Dpo), 1);
        let sums = |policy: &Policy| -> Vec<f64> {
            let logps = policy.logps(&batch).unwrap();
            let sum = |rows: &crate::data::batch::TargetSpan| {
                logps[rows.completion.clone()]
                    .iter()
                    .map(|&p| f64::from(p))
                    .sum()
            };
            batch.texts.iter().map(sum).collect()
        };
        let adapted = sums(&policy);
        let loras = policy.detach_lora();
        let base = sums(&policy);
        policy.attach_lora(loras);
        policy.merge_lora().unwrap();
        let merged = sums(&policy);
        for (pair_index, pair) in expected["pairs"].as_array().unwrap().iter().enumerate() {
            for (side, offset) in [("chosen", 0), ("rejected", 1)] {
                let text = 2 * pair_index + offset;
                let expected = |name: &str| number(&pair[format!("{name}_{side}")]);
                assert!(near(adapted[text], expected("logp"), 1e-5), "{name} {side}");
                assert!(
                    near(base[text], expected("ref_logp"), 1e-5),
                    "{name} {side}"
                );
                assert!(near(merged[text], adapted[text], 1e-5), "{name} {side}");
            }
        }
    }
}

/// Loss and gradients of one batch by the trainer's own backward pass, with gradient checkpointing if
/// `recompute`.
fn gradients(
    policy: &Policy,
    objective: &Objective,
    name: &str,
    devices: usize,
    recompute: bool,
) -> (f64, Vec<Tensor>) {
    let (batch, constants, totals) = batch(name, objective, devices);
    let mut gradients = Gradients::empty(policy.parameter_names().len());
    let mut loss = 0.0;
    policy
        .forward_backward(&batch, &mut gradients, recompute, |token_stats| {
            let (sums, dloss_dlogp) =
                objective.loss(&batch, &token_stats.logps, &constants, &totals);
            loss = sums.loss;
            dloss_dlogp
        })
        .unwrap();
    let parameters = policy.parameters();
    (loss, gradients.into_tensors(parameters.iter()).unwrap())
}

/// Loss and gradients of one batch by candle's autograd, through ops that record gradients.
fn oracle(policy: &mut Policy, objective: &Objective, name: &str) -> (f64, Vec<Tensor>) {
    let (batch, constants, totals) = batch(name, objective, 1);
    let loss = |logps: &[f32]| {
        let (sums, dloss_dlogp) = objective.loss(&batch, logps, &constants, &totals);
        (sums.loss, dloss_dlogp)
    };
    taped(policy, |policy| logps_of(policy, &batch), loss)
}

/// A loss and its gradients by the policy's parameters, by candle's autograd. `outputs` gives a vector of the
/// policy's outputs, through ops that record gradients; `loss_of` gives the loss of these and its derivative by
/// each, which other tests compare with finite differences.
fn taped(
    policy: &mut Policy,
    outputs: impl FnOnce(&Policy) -> Tensor,
    loss_of: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
) -> (f64, Vec<Tensor>) {
    let before = policy.parameters();
    let vars: Vec<Var> = before
        .iter()
        .map(|t| Var::from_tensor(t).unwrap())
        .collect();
    policy.set_parameters(vars.iter().map(|var| var.as_tensor().clone()).collect());
    let outputs = outputs(policy);
    let (loss, derivatives) = loss_of(&outputs.to_vec1::<f32>().unwrap());
    let derivatives = Tensor::new(derivatives, outputs.device()).unwrap();
    // The gradient of sum(outputs * derivatives) is the loss's, by the chain rule.
    let weighted = (outputs * derivatives).unwrap();
    let grads = weighted.sum_all().unwrap().backward().unwrap();
    let grads = vars
        .iter()
        .map(|var| grads.get(var).unwrap().clone())
        .collect();
    policy.set_parameters(before);
    (loss, grads)
}

/// Hidden states after the last norm at some positions, through ops that record gradients.
fn hidden_states(policy: &Policy, batch: &Batch, rows: &[u32]) -> Tensor {
    let decoder = &policy.decoder;
    let segments = PackedSequences::new(&batch.lengths, &decoder.config, &decoder.device).unwrap();
    let x = decoder.forward(&batch.ids, &segments).unwrap();
    x.index_select(&Tensor::new(rows, &decoder.device).unwrap(), 0)
        .unwrap()
}

/// The targets' log-probabilities, through ops that record gradients.
fn logps_of(policy: &Policy, batch: &Batch) -> Tensor {
    let rows = hidden_states(policy, batch, &batch.rows);
    let logits = policy.decoder.logits(&rows).unwrap();
    let targets = Tensor::new(batch.targets.as_slice(), logits.device()).unwrap();
    candle_nn::ops::log_softmax(&logits, 1)
        .unwrap()
        .gather(&targets.unsqueeze(1).unwrap(), 1)
        .unwrap()
        .squeeze(1)
        .unwrap()
}

/// Asserts that gradients agree with the expected ones: the norm of each difference is at most 1e-4 of the norm.
fn assert_same_gradients(policy: &Policy, actual: &[Tensor], expected: &[Tensor]) {
    let names = policy.parameter_names();
    assert_eq!((actual.len(), expected.len()), (names.len(), names.len()));
    for ((actual, expected), name) in actual.iter().zip(expected).zip(names) {
        let (off, size) = (norm(&(actual - expected).unwrap()), norm(expected));
        assert!(
            size > 0.0 && off <= 1e-4 * size,
            "{name}: off by {off} of {size}"
        );
    }
}

fn norm(tensor: &Tensor) -> f64 {
    let square = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap();
    square.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

/// Asserts that a loss and the gradients of all parameters are the expected ones: of each gradient its norm and
/// its first values.
fn assert_golden(
    policy: &Policy,
    (loss, gradients): &(f64, Vec<Tensor>),
    expected_loss: &Value,
    expected_gradients: &Value,
) {
    let expected = number(expected_loss);
    assert!(near(*loss, expected, 1e-5), "{loss} {expected}");
    let names = policy.parameter_names();
    assert_eq!(names.len(), gradients.len());
    for (gradient, name) in gradients.iter().zip(names) {
        let expected = &expected_gradients[&name];
        let size = number(&expected[0]);
        assert!(size > 0.0);
        assert!(near(norm(gradient), size, 1e-4), "{name}");
        let first: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        for (value, expected) in first.iter().zip(expected[1].as_array().unwrap()) {
            let off = (f64::from(*value) - number(expected)).abs();
            assert!(off <= 1e-4 * size, "{name}: off by {off}");
        }
    }
}

#[test]
fn losses_and_gradients_match_pytorch_and_autograd() {
    for name in MODELS {
        let expected = json(&fixture(name).join("expected.json"));
        let mut policy = policy(name, Head::Lm);
        for method in METHODS {
            let objective = objective(method);
            let analytic = gradients(&policy, &objective, name, 1, false);
            let recomputed = gradients(&policy, &objective, name, 1, true);
            let taped = oracle(&mut policy, &objective, name);
            for actual in [&analytic, &recomputed, &taped] {
                let (loss, gradients) = (&expected["loss"], &expected["grad"]);
                assert_golden(
                    &policy,
                    actual,
                    &loss[method.name()],
                    &gradients[method.name()],
                );
            }
            assert_same_gradients(&policy, &analytic.1, &taped.1);
            for (analytic, recomputed) in analytic.1.iter().zip(&recomputed.1) {
                assert_eq!(norm(&(analytic - recomputed).unwrap()), 0.0);
            }
        }
    }
}

/// SFT on completions, and on all tokens except the first: the loss is the mean over all target tokens.
#[test]
fn sft_losses_and_gradients_match_pytorch_and_autograd() {
    for name in MODELS {
        let expected = json(&fixture(name).join("expected.json"));
        let mut policy = policy(name, Head::Lm);
        for (train_on_prompts, field) in [
            (false, "nll_chosen_completion"),
            (true, "nll_chosen_prompt_and_completion"),
        ] {
            let objective = Objective {
                train_on_prompts,
                ..objective(Method::Sft)
            };
            let (mut sum, mut tokens) = (0.0, 0.0);
            for pair in expected["pairs"].as_array().unwrap() {
                let length = pair["chosen_ids"].as_array().unwrap().len() as f64;
                let prompt = number(&pair["prompt_len"]);
                let targets = length - if train_on_prompts { 1.0 } else { prompt };
                sum += targets * number(&pair[field]);
                tokens += targets;
            }
            let (loss, analytic) = gradients(&policy, &objective, name, 1, false);
            let (oracle_loss, taped) = oracle(&mut policy, &objective, name);
            for loss in [loss, oracle_loss] {
                assert!(near(loss, sum / tokens, 1e-5), "{name} {field}: {loss}");
            }
            assert_same_gradients(&policy, &analytic, &taped);
        }
    }
}

/// Expected values: `tests/fixtures/token_metrics.json`, written by `tests/peers/small_models.py` with TRL's
/// definitions.
#[test]
fn token_metrics_match_pytorch() {
    let expected = json(&fixture("..").join("token_metrics.json"));
    let policy = policy("llama", Head::Lm);
    // With DORPO the chosen texts' prompts are targets, too, which the metrics must not count.
    for method in [Method::Dpo, Method::Dorpo] {
        let (batch, _, _) = batch("llama", &objective(method), 1);
        let token_stats = policy.token_stats(&batch).unwrap();
        let logps = policy.logps(&batch).unwrap();
        for (a, b) in token_stats.logps.iter().zip(logps) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let means = TokenMetrics::new(&batch, &token_stats, method).means();
        assert_eq!(means.len(), 4);
        for (name, value) in means {
            let off = (value - number(&expected[name])).abs();
            assert!(off < 2e-6, "{name}: {value}, off by {off}");
        }
    }
}

#[test]
fn rewards_and_their_gradients_match_pytorch_and_autograd() {
    let expected = json(&fixture("gemma2_reward").join("expected.json"));
    let mut policy = policy("gemma2_reward", Head::Score);
    let chat = Chat::load(&files("gemma2_reward")).unwrap();
    let mut batch = Batch::default();
    let mut targets = Vec::new();
    for row in expected["rows"].as_array().unwrap() {
        let ids = chat
            .encode(row["text"].as_str().unwrap(), SpecialTokens::Add)
            .unwrap();
        assert_eq!(json!(ids), row["ids"]);
        let prompt_len = 1;
        batch.add(
            &polyphony_model::chat::PromptCompletion { ids, prompt_len },
            false,
        );
        targets.push(number(&row["target"]));
    }
    let objective = objective(Method::Reward);
    let mut gradients = Gradients::empty(policy.parameter_names().len());
    let mut loss = 0.0;
    let scores = policy
        .forward_backward_scores(&batch, &mut gradients, false, |scores| {
            let (sums, dloss_dreward) = objective.reward_loss(scores, &targets, targets.len());
            loss = sums.loss;
            dloss_dreward
        })
        .unwrap();
    assert!(near(loss, number(&expected["l1"]), 1e-5));
    for (score, row) in scores.iter().zip(expected["rows"].as_array().unwrap()) {
        assert!(near(f64::from(*score), number(&row["reward"]), 1e-4));
    }
    assert_eq!(policy.scores(&batch).unwrap(), scores);
    let analytic = gradients.into_tensors(policy.parameters().iter()).unwrap();

    let ends = |batch: &Batch| -> Vec<u32> {
        let ends = batch.lengths.iter().scan(0, |end, length| {
            *end += *length as u32;
            Some(*end - 1)
        });
        ends.collect()
    };
    let rewards = |policy: &Policy| {
        let rows = hidden_states(policy, &batch, &ends(&batch));
        let rewards = rows.matmul(&policy.decoder.head.t().unwrap()).unwrap();
        rewards.squeeze(1).unwrap()
    };
    let (_, taped) = taped(&mut policy, rewards, |scores| {
        let (sums, dloss_dreward) = objective.reward_loss(scores, &targets, targets.len());
        (sums.loss, dloss_dreward)
    });
    assert_same_gradients(&policy, &analytic, &taped);
}
