//! Does a decoder write what transformers writes? `tests/fixtures/generation.json`, made by
//! `tests/peers/generation.py`.

use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::{Completion, GenerationRequest, Generator};
use crate::device::DeviceSpec;
use crate::fixtures::{self, ids};
use crate::generate::sampling::SamplingParams;

fn golden() -> Value {
    fixtures::json("generation.json")
}

fn generator(name: &str, adapter: bool, live: bool) -> Generator {
    let adapter = adapter.then(|| fixtures::fixture(&format!("models/{name}/adapter")));
    let model = fixtures::model(name);
    Generator::load(&model, adapter.as_deref(), live, DeviceSpec::Cpu).unwrap()
}

fn completions(
    generator: &Generator,
    tasks: &[GenerationRequest],
    sampling: &SamplingParams,
    batch_size: usize,
) -> Vec<Completion> {
    let mut texts = Vec::new();
    let go_on = AtomicBool::new(false);
    let mut done = |number: usize, text: Completion| {
        assert_eq!(number, texts.len());
        texts.push(text);
        Ok(())
    };
    generator
        .write(tasks, sampling, batch_size, &go_on, &mut done)
        .unwrap();
    texts
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    let golden = golden();
    for name in ["llama", "mistral"] {
        let generator = generator(name, false, false);
        let cases = golden["greedy"][name].as_array().unwrap();
        assert_eq!(cases.len(), 16);
        for penalty in [1.0, 1.1] {
            let cases: Vec<&Value> = cases
                .iter()
                .filter(|case| case["penalty"] == penalty)
                .collect();
            let tasks: Vec<GenerationRequest> = cases
                .iter()
                .map(|case| GenerationRequest {
                    prompt: ids(&case["prompt"]),
                    seed: 0,
                    most: 64,
                })
                .collect();
            let sampling = SamplingParams {
                repetition_penalty: penalty as f32,
                ..SamplingParams::GREEDY
            };
            for (text, case) in completions(&generator, &tasks, &sampling, 3)
                .iter()
                .zip(cases)
            {
                let mut expected = ids(&case["tokens"]);
                let ended = expected
                    .last()
                    .is_some_and(|last| generator.eos_token_ids.contains(last));
                if ended {
                    expected.pop();
                }
                assert_eq!(text.tokens, expected, "{name}");
                assert_eq!(text.ended, ended);
            }
        }
    }
}

#[test]
fn logits_are_bent_as_by_transformers() {
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
        let mut bent = logits.clone();
        sampling.process_logits(&mut bent, &text);
        let kept: Vec<(u64, f32)> = (0..)
            .zip(bent)
            .filter(|(_, logit)| logit.is_finite())
            .collect();
        let expected = case["kept"].as_array().unwrap();
        assert_eq!(kept.len(), expected.len(), "{}", case["setting"]);
        for ((token, logit), expected) in kept.iter().zip(expected) {
            assert_eq!(*token, expected[0].as_u64().unwrap(), "{}", case["setting"]);
            assert!((f64::from(*logit) - expected[1].as_f64().unwrap()).abs() < 1e-5);
        }
    }
}

#[test]
fn a_text_does_not_depend_on_those_beside_it() {
    let golden = golden();
    for name in ["llama", "mistral"] {
        let generator = generator(name, true, false);
        let cases = golden["greedy"][name].as_array().unwrap();
        let tasks: Vec<GenerationRequest> = (0..12)
            .map(|number| GenerationRequest {
                prompt: ids(&cases[number % 8]["prompt"]),
                seed: number as u64,
                most: 20 + number,
            })
            .collect();
        let alone = completions(&generator, &tasks, &SamplingParams::PAPER, 1);
        assert_ne!(alone[0], alone[8], "another seed gives another text");
        for batch_size in [2, 5, 12] {
            assert_eq!(
                completions(&generator, &tasks, &SamplingParams::PAPER, batch_size),
                alone
            );
        }
    }
}

#[test]
fn a_live_adapter_writes_what_a_merged_one_does() {
    let golden = golden();
    let cases = golden["greedy"]["llama"].as_array().unwrap();
    let tasks: Vec<GenerationRequest> = cases
        .iter()
        .map(|case| GenerationRequest {
            prompt: ids(&case["prompt"]),
            seed: 0,
            most: 32,
        })
        .collect();
    let texts = |adapter, live| {
        let generator = generator("llama", adapter, live);
        completions(&generator, &tasks, &SamplingParams::GREEDY, 4)
    };
    let merged = texts(true, false);
    assert_eq!(texts(true, true), merged);
    assert_ne!(texts(false, false), merged, "the adapter changes nothing");
}
