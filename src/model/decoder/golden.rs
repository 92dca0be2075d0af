//! Golden tests of decoders against transformers: tied embeddings, sharded weights and sliding windows, with
//! models of `tests/peers/small_models.py`, and every family, with those of `tests/peers/families.py`.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::log_softmax;

use super::family::Family;
use super::kv_cache::KvCache;
use super::packed::PackedSequences;
use super::{Decoder, Head};
use crate::files::ModelFiles;
use crate::fixtures::{self, ids};

fn decoder(name: &str) -> Decoder<Tensor> {
    load(&fixtures::model(name))
}

fn load(model: &str) -> Decoder<Tensor> {
    let files = ModelFiles::find_model(model).unwrap();
    Decoder::load(&files, Head::Lm, DType::F32, &Device::Cpu, |_, weight| {
        Ok(weight)
    })
    .unwrap()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap() as u32
}

/// Asserts that log-probabilities and greedy text are those of transformers, in `expected.json` of a folder.
fn assert_golden(name: &str, decoder: &Decoder<Tensor>) {
    let expected = fixtures::json(&format!("models/{name}/expected.json"));
    for row in expected["rows"].as_array().unwrap() {
        let text = ids(&row["ids"]);
        let packed = PackedSequences::new(&[text.len()], &decoder.config, &Device::Cpu).unwrap();
        let x = decoder.forward(&text, &packed).unwrap();
        let logps = log_softmax(&decoder.logits(&x).unwrap(), D::Minus1).unwrap();
        let logps: Vec<Vec<f32>> = logps.to_vec2().unwrap();
        let expected_logps = row["logps"].as_array().unwrap();
        assert_eq!(expected_logps.len(), text.len() - 1);
        for (position, expected) in expected_logps.iter().enumerate() {
            let logp = f64::from(logps[position][text[position + 1] as usize]);
            let error = (logp - expected.as_f64().unwrap()).abs();
            assert!(error < 1e-4, "{name} at {position}: off by {error}");
        }
        let mut cache = KvCache::new(decoder.layers.len());
        let mut logits = decoder.prefill(&[&text], &mut [&mut cache]).unwrap();
        for expected_id in ids(&row["greedy"]) {
            let next = argmax(&logits[0]);
            assert_eq!(next, expected_id, "{name} after {} tokens", cache.tokens);
            logits = decoder.decode_step(&[next], &mut [&mut cache]).unwrap();
        }
    }
}

#[test]
fn tied_sharded_and_sliding_window_models_match_transformers() {
    for name in ["tied_llama", "windowed_mistral"] {
        let decoder = decoder(name);
        assert_eq!(decoder.config.tie_word_embeddings, name == "tied_llama");
        let window = (name == "windowed_mistral").then_some(8);
        assert_eq!(decoder.config.sliding_windows, [window; 2]);
        assert_golden(name, &decoder);
    }
}

/// Models of `tests/peers/families.py`: texts of 3 to 70 tokens and 40 more, beyond Gemma 3's window of 16.
#[test]
fn every_family_matches_transformers_with_and_without_a_cache() {
    for (name, family) in [
        ("llama32", Family::Llama),
        ("smollm2", Family::Llama),
        ("qwen2", Family::Qwen2),
        ("qwen3", Family::Qwen3),
        ("gemma3", Family::Gemma3),
    ] {
        let decoder = decoder(name);
        assert_eq!(decoder.config.family, family);
        let biases = decoder.layers.iter().flat_map(|layer| &layer.biases);
        let biases = biases.flatten().count();
        assert_eq!(biases, if name == "qwen2" { 6 } else { 0 }, "{name}");
        assert_golden(name, &decoder);
    }
}

/// Files of `tests/peers/gguf_models.py`: quantised weights, layouts and settings as llama.cpp stores them.
#[test]
fn gguf_models_match_transformers() {
    for (name, family) in [
        ("llama32", Family::Llama),
        ("qwen2", Family::Qwen2),
        ("gemma3", Family::Gemma3),
    ] {
        let file = fixtures::fixture(&format!("models/{name}/gguf/{name}.gguf"));
        let from_file = load(file.to_str().unwrap());
        assert_eq!(from_file.config.family, family);
        // Divisors that are stored as a tensor may follow from several sets of parameters.
        let frequencies = |decoder: &Decoder<Tensor>| -> Vec<f64> {
            let ropes = decoder.config.ropes.iter();
            let of_layer = ropes.map(|rope| rope.inv_freq(decoder.config.head_dim));
            of_layer.flatten().collect()
        };
        for (actual, expected) in frequencies(&from_file)
            .iter()
            .zip(frequencies(&decoder(name)))
        {
            assert!((actual / expected - 1.0).abs() < 1e-5, "{name}");
        }
        assert_golden(&format!("{name}/gguf"), &from_file);
        // The file alone in a folder is the model, too.
        let in_folder = load(file.parent().unwrap().to_str().unwrap());
        assert_eq!(in_folder.config, from_file.config);
    }
}
