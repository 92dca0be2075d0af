//! Gemma 3 270M: tests with a published decoder, which `tests/peers/fetch_gemma3.py` downloads, against what
//! `tests/peers/gemma3.py` computes with transformers and PyTorch.

use std::fs;
use std::path::{Path, PathBuf};

use polyphony_model::chat::Chat;
use polyphony_model::files::ModelFiles;
use polyphony_model::tokenizer::SpecialTokens;
use serde_json::{Value, json};

use super::Missing;
use super::program::{done, text};

/// The model in `gemma3()`: as safetensors, which transformers dequantised, and as the GGUF file (`Q4_K_M`).
const MODELS: [&str; 2] = ["model", "gguf"];

/// The folder of model and expected values, from the environment variable `POLYPHONY_GEMMA3`.
fn gemma3() -> Result<PathBuf, Missing> {
    std::env::var_os("POLYPHONY_GEMMA3")
        .map(PathBuf::from)
        .ok_or_else(|| Missing("POLYPHONY_GEMMA3 is not set".to_owned()))
}

/// The values of transformers and PyTorch.
fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

/// The tokenizer of a model: a folder or a GGUF file.
fn chat(model: &Path) -> Chat {
    Chat::load(&ModelFiles::find_model(text(model)).unwrap()).unwrap()
}

/// Asserts that a value is the expected one within a relative tolerance.
fn assert_near(actual: &Value, expected: &Value, tolerance: f64) {
    let (actual, expected) = (actual.as_f64().unwrap(), expected.as_f64().unwrap());
    let off = (actual / expected - 1.0).abs();
    assert!(off <= tolerance, "{actual} for {expected}");
}

pub(crate) fn token_ids_equal_those_of_transformers() -> Result<(), Missing> {
    let folder = gemma3()?;
    let expected = expected(&folder);
    let stories = expected["stories"].as_array().unwrap();
    assert_eq!(stories.len(), 50);
    for model in MODELS {
        let chat = chat(&folder.join(model));
        for story in stories {
            let ids = chat.encode(story["text"].as_str().unwrap(), SpecialTokens::Add);
            assert_eq!(json!(ids.unwrap()), story["ids"], "{model}");
        }
    }
    Ok(())
}

pub(crate) fn greedy_text_equals_that_of_transformers() -> Result<(), Missing> {
    let folder = gemma3()?;
    let model = folder.join("model");
    let expected = expected(&folder);
    let chat = chat(&model);
    let scratch = tempfile::tempdir().unwrap();
    let (prompts, out) = (
        scratch.path().join("in.jsonl"),
        scratch.path().join("out.jsonl"),
    );
    let cases = expected["greedy"].as_array().unwrap();
    let lines = cases
        .iter()
        .map(|case| json!({"prompt": case["prompt"]}).to_string() + "\n");
    fs::write(&prompts, lines.collect::<String>()).unwrap();
    done(&[
        "generate",
        "--model",
        text(&model),
        "--prompts",
        text(&prompts),
        "--out",
        text(&out),
        "--no-chat-template",
        "--samples",
        "1",
        "--max-tokens",
        "64",
        "--temperature",
        "0",
        "--repetition-penalty",
        "1",
    ]);
    let written = fs::read_to_string(&out).unwrap();
    assert_eq!(written.lines().count(), cases.len());
    for (line, case) in written.lines().zip(cases) {
        let row: Value = serde_json::from_str(line).unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(ids.len(), 64);
        assert_eq!(row["response"], json!(chat.decode(&ids).unwrap()));
    }
    Ok(())
}

/// Log-probabilities of the base model, and loss and gradient norm of a first step of DDPO from an adapter on every
/// linear layer.
pub(crate) fn a_step_equals_that_of_pytorch() -> Result<(), Missing> {
    let folder = gemma3()?;
    let expected = expected(&folder);
    let scratch = tempfile::tempdir().unwrap();
    for model in MODELS {
        let out = scratch.path().join(model);
        done(&[
            "train",
            "ddpo",
            "--model",
            text(&folder.join(model)),
            "--data",
            text(&folder.join("pairs.jsonl")),
            "--adapter",
            text(&folder.join("adapter")),
            "--reference",
            "base",
            "--out",
            text(&out),
            "--max-steps",
            "1",
            "--batch-size",
            "2",
            "--no-shuffle",
            "--device",
            "cpu",
        ]);
        let lines = fs::read_to_string(out.join("reference_logps.jsonl")).unwrap();
        let expected_logps = expected["logps"].as_array().unwrap();
        assert_eq!(lines.lines().count(), 1 + expected_logps.len());
        for (line, expected) in lines.lines().skip(1).zip(expected_logps) {
            let logps: Value = serde_json::from_str(line).unwrap();
            for side in ["chosen", "rejected"] {
                assert_near(&logps[side], &expected[side], 1e-4);
            }
        }
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let step: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        for field in ["loss", "grad_norm"] {
            assert_near(&step[field], &expected["step"][field], 1e-4);
        }
    }
    Ok(())
}
