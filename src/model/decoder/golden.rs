//! Golden tests of decoders against transformers: tied embeddings, sharded weights and sliding windows, with
//! models of `tests/peers/small_models.py`.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::log_softmax;

use super::kv_cache::KvCache;
use super::packed::PackedSequences;
use super::{Decoder, Head};
use crate::files::ModelFiles;
use crate::fixtures::{self, ids};

fn decoder(name: &str) -> Decoder<Tensor> {
    let files = ModelFiles::find_model(&fixtures::model(name)).unwrap();
    Decoder::load(&files, Head::Lm, DType::F32, &Device::Cpu, |_, weight| {
        Ok(weight)
    })
    .unwrap()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap() as u32
}

#[test]
fn tied_sharded_and_sliding_window_models_match_transformers() {
    for name in ["tied_llama", "windowed_mistral"] {
        let decoder = decoder(name);
        assert_eq!(decoder.config.tie_word_embeddings, name == "tied_llama");
        let window = (name == "windowed_mistral").then_some(8);
        assert_eq!(decoder.config.sliding_windows, [window; 2]);
        let expected = fixtures::json(&format!("models/{name}/expected.json"));
        for row in expected["rows"].as_array().unwrap() {
            let text = ids(&row["ids"]);
            let packed =
                PackedSequences::new(&[text.len()], &decoder.config, &Device::Cpu).unwrap();
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
}
