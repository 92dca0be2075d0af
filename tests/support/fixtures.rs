//! Fixtures: paths and contents of the files in `tests/fixtures`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The path of a file or folder in `tests/fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/{path}"))
}

/// The folder of a small model, as a model name.
pub(crate) fn model(name: &str) -> String {
    fixture(&format!("models/{name}/model"))
        .display()
        .to_string()
}

/// The content of a JSON file in `tests/fixtures`.
pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

/// Token ids from a JSON array.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}
