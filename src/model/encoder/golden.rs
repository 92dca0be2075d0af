//! Golden tests of encoders against transformers: small random models with expected embeddings.
//!
//! The expected values were computed with transformers 5.23 and torch 2.15 on the CPU in f32.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use crate::device::DeviceSpec;
use crate::encoder::sentence::SentenceEncoder;
use crate::encoder::text_tokenizer::LongTexts;
use crate::fixtures;

const MODELS: [&str; 3] = ["minilm_bert", "style_roberta", "jina_v3"];

fn load(name: &str, precision: DType) -> SentenceEncoder {
    let (folder, task) = name.split_once('#').unwrap_or((name, ""));
    let mut path = fixtures::model(folder);
    if !task.is_empty() {
        path = format!("{path}#{task}");
    }
    SentenceEncoder::load_with_dtype(&path, DeviceSpec::Cpu, precision).unwrap()
}

fn expected(name: &str) -> Value {
    fixtures::json(&format!("models/{name}/expected.json"))
}

fn texts(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["text"].as_str().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

/// The largest absolute difference between actual and expected values.
fn distance<'a>(actual: &[f32], expected: impl Iterator<Item = &'a Value>) -> f64 {
    let expected: Vec<f64> = expected.flat_map(floats).collect();
    assert_eq!(actual.len(), expected.len());
    let pairs = actual.iter().zip(expected);
    pairs
        .map(|(actual, expected)| (f64::from(*actual) - expected).abs())
        .fold(0.0, f64::max)
}

fn embed(model: &SentenceEncoder, texts: &[&str]) -> Vec<f32> {
    let tokenized = model.tokenize(texts, LongTexts::Truncate).unwrap();
    let ids: Vec<&[u32]> = tokenized.ids.iter().map(Vec::as_slice).collect();
    model.embed(&ids).unwrap()
}

#[test]
fn token_ids_match_transformers() {
    for name in MODELS {
        let expected = expected(name);
        let rows = expected["rows"].as_array().unwrap();
        let actual = load(name, DType::F32)
            .tokenize(&texts(&expected["rows"]), LongTexts::Truncate)
            .unwrap();
        for (ids, row) in actual.ids.iter().zip(rows) {
            assert_eq!(json!(ids), row["ids"], "{name}: {}", row["text"]);
        }
        assert!(actual.truncated() > 0, "{name}");
    }
}

/// f32 tests the fused CPU kernels, f64 candle's operations, which also run on a GPU.
#[test]
fn embeddings_match_transformers() {
    for name in MODELS {
        let expected = expected(name);
        let rows = expected["rows"].as_array().unwrap();
        for precision in [DType::F32, DType::F64] {
            let mut model = load(name, precision);
            model.normalize = false;
            let pooled = embed(&model, &texts(&expected["rows"]));
            let off = distance(&pooled, rows.iter().map(|row| &row["mean_pooled"]));
            assert!(off < 2e-5, "{name} in {precision:?}: {off}");
            model.normalize = true;
            let unit = embed(&model, &texts(&expected["rows"]));
            let off = distance(&unit, rows.iter().map(|row| &row["unit"]));
            assert!(off < 2e-5, "{name} in {precision:?}: {off}");
        }
    }
}

/// bf16 and f16, the dtypes of GPUs, on the CPU: cosine similarity to the expected embedding is at least
/// 0.999.
#[test]
fn half_precision_embeddings_keep_their_direction() {
    for name in ["minilm_bert", "style_roberta", "jina_v3", "xlm_roberta"] {
        let expected = expected(name);
        let rows = expected["rows"].as_array().unwrap();
        for precision in [DType::BF16, DType::F16] {
            let mut model = load(name, precision);
            model.normalize = true;
            let actual = embed(&model, &texts(&expected["rows"]));
            for (vector, row) in actual.chunks_exact(model.dimension).zip(rows) {
                let unit = floats(&row["unit"]);
                let pairs = vector.iter().zip(&unit);
                let cosine: f64 = pairs.map(|(a, b)| f64::from(*a) * b).sum();
                let text = &row["text"];
                assert!(
                    cosine >= 0.999,
                    "{name} in {precision:?}: {cosine} for {text}"
                );
            }
        }
    }
}

/// XLM-RoBERTa's positions start after the id of its padding token; this model has CLS pooling.
#[test]
fn xlm_roberta_matches_transformers() {
    let expected = expected("xlm_roberta");
    let rows = expected["rows"].as_array().unwrap();
    for precision in [DType::F32, DType::F64] {
        let model = load("xlm_roberta", precision);
        let tokenized = model
            .tokenize(&texts(&expected["rows"]), LongTexts::Truncate)
            .unwrap();
        for (ids, row) in tokenized.ids.iter().zip(rows) {
            assert_eq!(json!(ids), row["ids"], "{}", row["text"]);
        }
        assert!(tokenized.truncated() > 0);
        let unit = embed(&model, &texts(&expected["rows"]));
        let off = distance(&unit, rows.iter().map(|row| &row["unit"]));
        assert!(off < 2e-5, "in {precision:?}: {off}");
    }
}

/// Means of windows against `tests/peers/long_texts.py`: three tokenizers, with and without normalisation, and with
/// a prompt in each window.
#[test]
fn means_of_windows_match_transformers() {
    let golden = fixtures::json("long_texts.json");
    for (case, expected) in golden.as_object().unwrap() {
        let name = case.split(' ').next().unwrap();
        let folder = changed(name, |folder| {
            let config = json!({
                "default_prompt_name": "story", "prompts": {"story": expected["prompt"]},
            });
            let file = folder.join("config_sentence_transformers.json");
            fs::write(file, config.to_string()).unwrap();
        });
        let path = folder.path().display().to_string();
        let model = SentenceEncoder::load(&path, DeviceSpec::Cpu).unwrap();
        let rows = expected["rows"].as_array().unwrap();
        let texts = texts(&expected["rows"]);
        let tokenized = model.tokenize(&texts, LongTexts::Mean).unwrap();
        let windows: Vec<usize> = rows
            .iter()
            .flat_map(|row| floats(&row["windows"]))
            .map(|tokens| tokens as usize)
            .collect();
        assert_eq!(tokenized.weights, windows, "{case}");
        assert_eq!(tokenized.truncated(), 0);
        let ids: Vec<&[u32]> = tokenized.ids.iter().map(Vec::as_slice).collect();
        assert!(ids.iter().all(|ids| ids.len() <= model.max_seq_length));
        let vectors = model.join_windows(&tokenized, model.embed(&ids).unwrap());
        let off = distance(&vectors, rows.iter().map(|row| &row["vector"]));
        assert!(off < 2e-5, "{case}: {off}");
        // Truncation sees the first window, and counts the tokens of all.
        let truncated = model.tokenize(&texts, LongTexts::Truncate).unwrap();
        for (text, row) in truncated.texts.iter().zip(rows) {
            let windows = floats(&row["windows"]);
            let all: f64 = windows.iter().sum();
            assert_eq!((text.seen as f64, text.tokens as f64), (windows[0], all));
        }
    }
}

/// A tokenizer that truncates on the left keeps the end of a text.
#[test]
fn truncation_on_the_left_sees_the_last_tokens() {
    let folder = changed("minilm_bert", |folder| {
        edit(&folder.join("tokenizer.json"), |tokenizer| {
            tokenizer["truncation"] = json!({
                "direction": "Left", "max_length": 100, "strategy": "LongestFirst", "stride": 0,
            });
        });
    });
    let path = folder.path().display().to_string();
    let left = SentenceEncoder::load(&path, DeviceSpec::Cpu).unwrap();
    let right = load("minilm_bert", DType::F32);
    let text = format!("{} the end", "ship ".repeat(200));
    let tokenized = left.tokenize(&[&text], LongTexts::Truncate).unwrap();
    let end = right.tokenize(&["the end"], LongTexts::Truncate).unwrap();
    let end = &end.ids[0][1..];
    assert_eq!(tokenized.ids[0].len(), 100);
    assert!(tokenized.ids[0].ends_with(end), "{:?}", tokenized.ids[0]);
    assert_eq!(tokenized.texts[0].seen, 98);
    assert!(tokenized.texts[0].tokens > 200);
}

/// A prompt that fills the maximum length leaves nothing for windows of the text.
#[test]
fn windows_need_room_beside_the_prompt() {
    let folder = changed("minilm_bert", |folder| {
        let prompt = "represent ".repeat(100);
        let config = json!({"default_prompt_name": "p", "prompts": {"p": prompt}});
        let file = folder.join("config_sentence_transformers.json");
        fs::write(file, config.to_string()).unwrap();
    });
    let path = folder.path().display().to_string();
    let model = SentenceEncoder::load(&path, DeviceSpec::Cpu).unwrap();
    let error = model.tokenize(&["a story"], LongTexts::Mean).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("max_seq_length must be > "), "{error}");
    assert!(
        error.contains("(got 100): use --long-texts truncate"),
        "{error}"
    );
    let truncated = model.tokenize(&["a story"], LongTexts::Truncate).unwrap();
    assert_eq!(truncated.texts[0].seen, 0);
    assert!(truncated.texts[0].tokens > 1);
}

#[test]
fn task_selects_its_lora_adapter() {
    let expected = expected("jina_v3");
    let by_task = expected["unit_by_task_first_four_texts"]
        .as_object()
        .unwrap();
    assert!(!by_task.is_empty());
    for (task, vectors) in by_task {
        let model = load(&format!("jina_v3#{task}"), DType::F32);
        let actual = embed(&model, &texts(&expected["rows"])[..4]);
        let off = distance(&actual, vectors.as_array().unwrap().iter());
        assert!(off < 2e-5, "{task}: {off}");
        assert_eq!(model.name, format!("model#{task}"));
    }
}

/// A text's embedding does not depend on the other texts of its batch.
#[test]
fn embeddings_do_not_depend_on_the_batch() {
    for name in MODELS {
        let model = load(name, DType::F32);
        let expected = expected(name);
        let texts = texts(&expected["rows"]);
        let together = embed(&model, &texts);
        for (text, row) in texts.iter().zip(together.chunks_exact(model.dimension)) {
            let alone = embed(&model, &[text]);
            let off = alone
                .iter()
                .zip(row)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(off < 1e-6, "{name}: {off}");
        }
    }
}

/// A temporary copy of a fixture's model folder, modified by `change`.
fn changed(name: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = PathBuf::from(fixtures::model(name));
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::copy(
        from.join("1_Pooling/config.json"),
        folder.path().join("1_Pooling/config.json"),
    )
    .unwrap();
    change(folder.path());
    folder
}

/// Modifies a JSON file.
fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// The error message of loading the model, a single line, with the folder's path replaced by `MODEL`.
fn refusal(folder: &tempfile::TempDir) -> String {
    let path = folder.path().display().to_string();
    let error = SentenceEncoder::load(&path, DeviceSpec::Cpu)
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\n'), "{error}");
    error.replace(&path, "MODEL")
}

#[test]
fn invalid_models_are_rejected_with_the_file_named() {
    let lacking = |file: &'static str| {
        changed("minilm_bert", move |folder| {
            fs::remove_file(folder.join(file)).unwrap();
        })
    };
    assert_eq!(
        refusal(&lacking("config.json")),
        "MODEL: has no config.json: name the folder of a complete model"
    );
    assert_eq!(
        refusal(&lacking("model.safetensors")),
        "MODEL: has no model.safetensors or pytorch_model.bin: name the folder of a complete model"
    );
    assert_eq!(
        refusal(&lacking("tokenizer.json")),
        "MODEL: has no tokenizer.json: name the folder of a complete model"
    );
    let wider = changed("minilm_bert", |folder| {
        edit(&folder.join("config.json"), |config| {
            config["hidden_size"] = json!(64);
        });
    });
    assert_eq!(
        refusal(&wider),
        "MODEL/model.safetensors: tensor `embeddings.word_embeddings.weight` has shape [700, 48], \
         config.json says [700, 64]: its config.json belongs to another model: fetch the model again"
    );
    let deeper = changed("style_roberta", |folder| {
        edit(&folder.join("config.json"), |config| {
            config["num_hidden_layers"] = json!(4);
        });
    });
    assert!(
        refusal(&deeper).contains("has no tensor `encoder.layer.3."),
        "{}",
        refusal(&deeper)
    );
    let quantised = changed("minilm_bert", |folder| {
        let file = folder.join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::U8).unwrap();
        }
        candle_core::safetensors::save(&tensors, file).unwrap();
    });
    assert!(
        refusal(&quantised).contains("is quantised (U8)"),
        "{}",
        refusal(&quantised)
    );
    let other = changed("minilm_bert", |folder| {
        edit(&folder.join("config.json"), |config| {
            config["model_type"] = json!("t5");
        });
    });
    assert!(
        refusal(&other).starts_with("unknown architecture `t5"),
        "{}",
        refusal(&other)
    );
    assert!(refusal(&other).contains("known are bert, roberta, xlm-roberta"));
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "modules.json",
    ] {
        let garbage = changed("minilm_bert", |folder| {
            fs::write(folder.join(file), "not what it says").unwrap();
        });
        assert!(
            refusal(&garbage).starts_with(&format!("MODEL/{file}: ")),
            "{}",
            refusal(&garbage)
        );
    }
    let truncated = changed("style_roberta", |folder| {
        let file = folder.join("pytorch_model.bin");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(
        refusal(&truncated).starts_with("MODEL/pytorch_model.bin: "),
        "{}",
        refusal(&truncated)
    );
    let dense = changed("minilm_bert", |folder| {
        edit(&folder.join("modules.json"), |modules| {
            modules[2]["type"] = json!("sentence_transformers.models.Dense");
        });
    });
    assert!(
        refusal(&dense).starts_with("unknown module"),
        "{}",
        refusal(&dense)
    );
}

#[test]
fn sharded_weights_load_as_one_model() {
    let single_file = load("minilm_bert", DType::F32);
    let sharded = changed("minilm_bert", |folder| {
        let file = folder.join("model.safetensors");
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        let mut map = serde_json::Map::new();
        for (number, parity) in ["one.safetensors", "two.safetensors"].iter().enumerate() {
            let mut names: Vec<&String> = tensors.keys().collect();
            names.sort();
            let part: std::collections::HashMap<String, Tensor> = names
                .into_iter()
                .skip(number)
                .step_by(2)
                .map(|name| (name.clone(), tensors[name].clone()))
                .collect();
            map.extend(part.keys().map(|name| (name.clone(), json!(parity))));
            candle_core::safetensors::save(&part, folder.join(parity)).unwrap();
        }
        fs::remove_file(file).unwrap();
        fs::write(
            folder.join("model.safetensors.index.json"),
            json!({ "weight_map": map }).to_string(),
        )
        .unwrap();
    });
    let path = sharded.path().display().to_string();
    let parts = SentenceEncoder::load(&path, DeviceSpec::Cpu).unwrap();
    let texts = ["a story", ""];
    assert_eq!(embed(&parts, &texts), embed(&single_file, &texts));
    assert_ne!(parts.revision, single_file.revision);
}

/// Every supported pooling mode, on the same tokens.
#[test]
fn pooling_modes_of_the_config_are_applied() {
    let pooled = |mode: &str| {
        let folder = changed("style_roberta", |folder| {
            edit(&folder.join("1_Pooling/config.json"), |config| {
                config["pooling_mode_mean_tokens"] = json!(false);
                config[format!("pooling_mode_{mode}")] = json!(true);
            });
        });
        let path = folder.path().display().to_string();
        embed(
            &SentenceEncoder::load(&path, DeviceSpec::Cpu).unwrap(),
            &["one two three"],
        )
    };
    let (mean, scaled) = (pooled("mean_tokens"), pooled("mean_sqrt_len_tokens"));
    let ratios: Vec<f32> = scaled.iter().zip(&mean).map(|(a, b)| a / b).collect();
    assert!(
        ratios
            .iter()
            .all(|ratio| (ratio - ratios[0]).abs() < 1e-3 && *ratio > 1.5)
    );
    let (first, max) = (pooled("cls_token"), pooled("max_tokens"));
    assert!(first.iter().zip(&max).all(|(first, max)| first <= max));
    assert!(mean.iter().zip(&max).all(|(mean, max)| mean <= max));
    assert_ne!(first, mean);
}
