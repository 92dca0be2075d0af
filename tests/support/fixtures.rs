//! What do the tests know? The files of `tests/fixtures`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder of the fixtures.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/{path}"))
}

/// The folder of a small model, as a name that models are found by.
pub(crate) fn model(name: &str) -> String {
    fixture(&format!("models/{name}/model"))
        .display()
        .to_string()
}

/// What a JSON file of the fixtures holds.
pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

/// A list of tokens.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}
