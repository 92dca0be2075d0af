//! Golden tests of every decoder family: gradients of all LoRA products, against PyTorch (models of
//! `tests/peers/families.py`) and against candle's autograd.

use candle_core::Tensor;
use polyphony_io::random::SplitMix64;
use polyphony_model::chat::PromptCompletion;
use polyphony_model::decoder::Head;
use polyphony_model::device::DeviceSpec;
use polyphony_model::lora::LoraConfig;

use super::{
    FAMILIES, assert_golden, assert_same_gradients, files, fixture, gradients, json, logps_of,
    objective, policy, taped,
};
use crate::data::batch::Batch;
use crate::method::Method;
use crate::policy::{Gradients, Policy};

/// Losses and gradients of every LoRA product in every family. That the backward pass agrees with autograd, too, is
/// tested in [`gradients_of_every_model_family_match_autograd`].
#[test]
fn losses_and_gradients_of_every_family_match_pytorch() {
    for name in FAMILIES {
        let expected = json(&fixture(name).join("expected.json"));
        let policy = policy(name, Head::Lm);
        for method in [Method::Ddpo, Method::Dorpo] {
            let actual = gradients(&policy, &objective(method), name, 1, false);
            let (loss, gradients) = (&expected["loss"], &expected["grad"]);
            let (loss, gradients) = (&loss[method.name()], &gradients[method.name()]);
            assert_golden(&policy, &actual, loss, gradients);
        }
    }
}

/// Features of the model families: Mistral's sliding window, Llama's tied embeddings, Gemma 2's softcaps, extra
/// norms and sliding windows, biases of Qwen 2, query and key norms of Qwen 3 and Gemma 3. With an adapter on every linear layer, the trainer's backward pass agrees with
/// candle's autograd.
#[test]
fn gradients_of_every_model_family_match_autograd() {
    for name in [
        "windowed_mistral",
        "tied_llama",
        "gemma2_reward",
        "qwen2",
        "qwen3",
        "gemma3",
    ] {
        let mut policy = Policy::load(&files(name), Head::Lm, DeviceSpec::Cpu).unwrap();
        let lora_config = LoraConfig {
            r: 3,
            use_rslora: true,
            target_modules: vec!["all-linear".to_owned()],
            ..LoraConfig::default()
        };
        policy.init_lora(&lora_config, 9).unwrap();
        // In a new adapter B is zero, so that A has no gradient: random values replace both.
        let mut random = SplitMix64::seed_from_u64(4);
        let values = policy.parameters().into_iter().map(|value| {
            let sampled = (0..value.elem_count()).map(|_| (random.next_f64() - 0.5) as f32);
            Tensor::from_vec(sampled.collect(), value.dims(), value.device()).unwrap()
        });
        policy.set_parameters(values.collect());
        let mut batch = Batch::default();
        for (length, prompt_len) in [(21, 3), (5, 1), (34, 30)] {
            let ids = (0..length).map(|at| (at * 37 + length) % 90).collect();
            let text = PromptCompletion { ids, prompt_len };
            batch.add(&text, length == 5);
        }
        let count = batch.targets.len();
        let derivatives: Vec<f32> = (0..count).map(|at| (at % 5) as f32 - 1.5).collect();
        let mut gradients = Gradients::empty(policy.parameter_names().len());
        let same_derivatives = derivatives.clone();
        policy
            .forward_backward(&batch, &mut gradients, false, |_| same_derivatives)
            .unwrap();
        let analytic = gradients.into_tensors(policy.parameters().iter()).unwrap();
        let (_, expected) = taped(
            &mut policy,
            |policy| logps_of(policy, &batch),
            |_| (0.0, derivatives),
        );
        assert_same_gradients(&policy, &analytic, &expected);
    }
}
