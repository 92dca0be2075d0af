//! Golden tests of GGUF files against transformers, with files of `tests/peers/gguf_models.py`: tokenizers, chat
//! templates, refusals. Weights are tested with the decoder.

use std::path::PathBuf;

use serde_json::json;

use crate::chat::{Chat, Message};
use crate::files::ModelFiles;
use crate::fixtures;
use crate::tokenizer::SpecialTokens;

fn file(name: &str) -> PathBuf {
    fixtures::fixture(&format!("models/{name}/gguf/{name}.gguf"))
}

fn files(path: &std::path::Path) -> ModelFiles {
    ModelFiles::find_model(path.to_str().unwrap()).unwrap()
}

#[test]
fn token_ids_and_chats_match_transformers() {
    for name in ["llama32", "qwen2", "gemma3"] {
        let from_file = Chat::load(&files(&file(name))).unwrap();
        let expected = fixtures::json(&format!("models/{name}/gguf/expected.json"));
        for text in expected["texts"].as_array().unwrap() {
            let ids = from_file.encode(text["text"].as_str().unwrap(), SpecialTokens::Add);
            assert_eq!(json!(ids.unwrap()), text["ids"], "{name}");
        }
        let from_folder = Chat::load(&ModelFiles::find_model(&fixtures::model(name)).unwrap());
        let from_folder = from_folder.unwrap();
        let chat = [Message {
            role: "user".to_owned(),
            content: "Write of rain.".to_owned(),
        }];
        let (actual, expected) = (from_file.render(&chat), from_folder.render(&chat));
        assert_eq!(actual.unwrap(), expected.unwrap(), "{name}");
        assert_eq!(from_file.eos_token_id(), from_folder.eos_token_id());
        let ids = from_file
            .encode("the  sea, l'été", SpecialTokens::Add)
            .unwrap();
        assert_eq!(from_file.decode(&ids).unwrap(), "the  sea, l'été", "{name}");
    }
}

#[test]
fn a_cut_file_a_missing_tokenizer_and_two_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &std::path::Path| {
        let found = ModelFiles::find_model(path.to_str().unwrap());
        let loaded = found.and_then(|files| Chat::load(&files));
        loaded.unwrap_err().to_string()
    };
    let bytes = std::fs::read(file("qwen2")).unwrap();
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &bytes[..2000]).unwrap();
    assert!(refusal(&cut).contains("cannot be read as GGUF"));
    // The name of the pre-tokenizer, replaced by an unknown one of the same length.
    let known = b"tokenizer.ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2";
    let at = bytes
        .windows(known.len())
        .position(|part| part == known)
        .unwrap()
        + known.len()
        - 5;
    let mut changed = bytes.clone();
    changed[at..at + 5].copy_from_slice(b"other");
    std::fs::write(&cut, &changed).unwrap();
    let message = refusal(&cut);
    assert!(message.contains("tokenizer.ggml.pre `other`"), "{message}");
    // With the model's tokenizer.json next to it, the folder is a model.
    let tokenizer = PathBuf::from(fixtures::model("qwen2")).join("tokenizer.json");
    std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
    let chat = Chat::load(&files(folder.path())).unwrap();
    assert!(chat.encode("rain", SpecialTokens::Add).is_ok());
    std::fs::write(folder.path().join("two.gguf"), &bytes).unwrap();
    assert!(refusal(folder.path()).contains("has 2 GGUF files"));
}
