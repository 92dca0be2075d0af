//! Golden tests of generation against transformers: `tests/fixtures/generation.json`, made by
//! `tests/peers/generation.py`.

use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::{AdapterMode, AdapterOptions, Completion, FinishReason, GenerationRequest, Generator};
use crate::decoder::kv_cache::KvCache;
use crate::device::DeviceSpec;
use crate::fixtures::{self, ids};
use crate::generate::sampling::SamplingParams;

fn golden() -> Value {
    fixtures::json("generation.json")
}

fn generator(name: &str, adapter: Option<AdapterMode>) -> Generator {
    generator_at_scale(name, adapter, 1.0)
}

fn generator_at_scale(name: &str, adapter: Option<AdapterMode>, scale: f64) -> Generator {
    let folder = adapter.map(|_| fixtures::fixture(&format!("models/{name}/adapter")));
    let mode = adapter.unwrap_or(AdapterMode::Merged);
    let options = AdapterOptions { mode, scale };
    let model = fixtures::model(name);
    Generator::load(&model, folder.as_deref(), options, DeviceSpec::Cpu).unwrap()
}

fn completions(
    generator: &Generator,
    requests: &[GenerationRequest],
    sampling: &SamplingParams,
    batch_size: usize,
) -> Vec<Completion> {
    let mut texts = Vec::new();
    let stop = AtomicBool::new(false);
    let mut on_completion = |number: usize, text: Completion| {
        assert_eq!(number, texts.len());
        texts.push(text);
        Ok(())
    };
    generator
        .generate(requests, sampling, batch_size, &stop, &mut on_completion)
        .unwrap();
    texts
}

#[test]
fn greedy_texts_match_transformers() {
    let golden = golden();
    for name in ["llama", "mistral"] {
        let generator = generator(name, None);
        let cases = golden["greedy"][name].as_array().unwrap();
        assert_eq!(cases.len(), 16);
        for penalty in [1.0, 1.1] {
            let cases: Vec<&Value> = cases
                .iter()
                .filter(|case| case["penalty"] == penalty)
                .collect();
            let requests: Vec<GenerationRequest> = cases
                .iter()
                .map(|case| GenerationRequest {
                    prompt: ids(&case["prompt"]),
                    seed: 0,
                    max_new_tokens: 64,
                })
                .collect();
            let sampling = SamplingParams {
                repetition_penalty: penalty as f32,
                ..SamplingParams::GREEDY
            };
            for (text, case) in completions(&generator, &requests, &sampling, 3)
                .iter()
                .zip(cases)
            {
                let mut expected = ids(&case["tokens"]);
                let mut finish_reason = FinishReason::Length;
                if expected
                    .last()
                    .is_some_and(|last| generator.eos_token_ids.contains(last))
                {
                    expected.pop();
                    finish_reason = FinishReason::Stop;
                }
                assert_eq!(text.tokens, expected, "{name}");
                assert_eq!(text.finish_reason, finish_reason);
            }
        }
    }
}

#[test]
fn processed_logits_match_transformers() {
    let golden = golden();
    let logits: Vec<f32> = golden["logits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|logit| logit.as_f64().unwrap() as f32)
        .collect();
    let text = ids(&golden["text"]);
    let cases = golden["bent"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let number = |name: &str| case["setting"][name].as_f64().unwrap();
        let sampling = SamplingParams {
            temperature: number("temperature") as f32,
            top_k: number("top_k") as usize,
            top_p: number("top_p") as f32,
            min_p: number("min_p") as f32,
            repetition_penalty: number("repetition_penalty") as f32,
        };
        let mut processed = logits.clone();
        sampling.process_logits(&mut processed, &text);
        let remaining: Vec<(u64, f32)> = (0..)
            .zip(processed)
            .filter(|(_, logit)| logit.is_finite())
            .collect();
        let expected = case["kept"].as_array().unwrap();
        assert_eq!(remaining.len(), expected.len(), "{}", case["setting"]);
        for ((token, logit), expected) in remaining.iter().zip(expected) {
            assert_eq!(*token, expected[0].as_u64().unwrap(), "{}", case["setting"]);
            assert!((f64::from(*logit) - expected[1].as_f64().unwrap()).abs() < 1e-5);
        }
    }
}

#[test]
fn a_text_does_not_depend_on_the_batch_size() {
    let golden = golden();
    for name in ["llama", "mistral"] {
        let generator = generator(name, Some(AdapterMode::Merged));
        let cases = golden["greedy"][name].as_array().unwrap();
        let requests: Vec<GenerationRequest> = (0..12)
            .map(|number| GenerationRequest {
                prompt: ids(&cases[number % 8]["prompt"]),
                seed: number as u64,
                max_new_tokens: 20 + number,
            })
            .collect();
        let alone = completions(&generator, &requests, &SamplingParams::PAPER, 1);
        assert_ne!(alone[0], alone[8], "another seed gives another text");
        for batch_size in [2, 5, 12] {
            assert_eq!(
                completions(&generator, &requests, &SamplingParams::PAPER, batch_size),
                alone
            );
        }
    }
}

#[test]
fn unmerged_and_merged_adapters_generate_the_same_text() {
    let golden = golden();
    let cases = golden["greedy"]["llama"].as_array().unwrap();
    let requests: Vec<GenerationRequest> = cases
        .iter()
        .map(|case| GenerationRequest {
            prompt: ids(&case["prompt"]),
            seed: 0,
            max_new_tokens: 32,
        })
        .collect();
    let texts = |adapter| {
        let generator = generator("llama", adapter);
        completions(&generator, &requests, &SamplingParams::GREEDY, 4)
    };
    let merged = texts(Some(AdapterMode::Merged));
    assert_eq!(texts(Some(AdapterMode::Unmerged)), merged);
    assert_ne!(texts(None), merged, "the adapter changes nothing");
}

/// Logits and greedy texts at five scales match PEFT's (`LoraLayer.set_scale`), merged or not:
/// `tests/fixtures/adapter_scale.json`, made by `tests/peers/adapter_scale.py`.
#[test]
fn scaled_adapters_match_peft() {
    let golden = fixtures::json("adapter_scale.json");
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let name = case["model"].as_str().unwrap();
        let scale = case["scale"].as_f64().unwrap();
        let request = GenerationRequest {
            prompt: ids(&case["prompt"]),
            seed: 0,
            max_new_tokens: 24,
        };
        for mode in [AdapterMode::Merged, AdapterMode::Unmerged] {
            let generator = generator_at_scale(name, Some(mode), scale);
            let expected = case["logits"].as_array().unwrap();
            for (logit, expected) in first_logits(&generator, &request.prompt)
                .iter()
                .zip(expected)
            {
                let difference = f64::from(*logit) - expected.as_f64().unwrap();
                assert!(difference.abs() < 1e-4, "{name} at {scale}: {difference}");
            }
            let requests = std::slice::from_ref(&request);
            let texts = completions(&generator, requests, &SamplingParams::GREEDY, 1);
            let mut expected = ids(&case["tokens"]);
            expected.retain(|token| !generator.eos_token_ids.contains(token));
            assert_eq!(texts[0].tokens, expected, "{name} at {scale}");
        }
    }
}

/// Scale 0 is the base model and scale 1 the unscaled adapter, to the bit.
#[test]
fn scale_0_is_the_base_model_and_scale_1_the_adapter() {
    let prompt = ids(&golden()["greedy"]["llama"][0]["prompt"]);
    let base = first_logits(&generator("llama", None), &prompt);
    for mode in [AdapterMode::Merged, AdapterMode::Unmerged] {
        let at = |scale| {
            let generator = generator_at_scale("llama", Some(mode), scale);
            first_logits(&generator, &prompt)
        };
        assert_eq!(at(0.0), base);
        assert_eq!(
            at(1.0),
            first_logits(&generator("llama", Some(mode)), &prompt)
        );
        assert_ne!(at(1.0), base);
    }
}

/// The logits of the first token after the prompt.
fn first_logits(generator: &Generator, prompt: &[u32]) -> Vec<f32> {
    let mut cache = KvCache::new(generator.decoder.layers.len());
    let logits = generator.decoder.prefill(&[prompt], &mut [&mut cache]);
    logits.unwrap().remove(0)
}
