//! Adapter provenance: what the folder of a training run tells about the adapter, for the manifest of its texts.
//!
//! The data's embedders made the weights of its pairs: an evaluation with the same embedders measures what training
//! has optimised.

use std::path::Path;

use polyphony_trainer::config::Settings;
use polyphony_trainer::run::manifest::{CONFIG_FILE, MANIFEST_FILE};
use serde_json::{Map, Value, json};

/// The endings of the files beside training data that tell their embedders: the card of `pairs`, the summary of
/// `weigh`.
const CARDS: [&str; 2] = ["json", "weights.json"];

/// The fields of a card that tell what its embedders have done to the data.
const FIELDS: [&str; 3] = ["embedders", "weight_embedders", "selected_by_embeddings"];

/// Method, data and revisions of an adapter; `None` for a folder that `polyphony train` did not write. The
/// embedders come from the card next to the data, if it is there and is that of these data.
pub(super) fn of_adapter(folder: &Path) -> Option<Value> {
    let run = read(&folder.join(MANIFEST_FILE))?;
    let data_sha256 = run.get("data_sha256")?;
    let settings = Settings::read(&folder.join(CONFIG_FILE)).unwrap_or_default();
    let mut data = Map::from_iter([("sha256".to_owned(), data_sha256.clone())]);
    if let Some(path) = &settings.data {
        let name = path.file_name().unwrap_or_default();
        data.insert("file".to_owned(), json!(name.to_string_lossy()));
        let cards = CARDS
            .iter()
            .filter_map(|end| read(&path.with_extension(end)));
        let mut cards = cards.filter(|card| card.get("sha256") == Some(data_sha256));
        for (name, value) in cards.next().into_iter().flatten() {
            if FIELDS.contains(&name.as_str()) {
                data.insert(name, value);
            }
        }
    }
    let of_run = |field: &str| run.get(field).cloned().unwrap_or_default();
    Some(json!({
        "method": settings.method,
        "data": data,
        "model_revision": of_run("model_revision"),
        "initial_adapter_sha256": of_run("adapter_sha256"),
        "fingerprint": of_run("fingerprint"),
        "made_with": { "polyphony": of_run("polyphony") },
    }))
}

/// The object in a JSON file, if it can be read.
fn read(file: &Path) -> Option<Map<String, Value>> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_data_and_embedders_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write =
            |name: &str, value: &Value| std::fs::write(at(name), value.to_string()).unwrap();
        assert_eq!(of_adapter(folder.path()), None);
        write(
            MANIFEST_FILE,
            &json!({"polyphony": "0.1.0", "model_revision": "m", "data_sha256": "d", "fingerprint": "f"}),
        );
        let config = format!(
            "method = \"ddpo\"\ndata = '{}'\n",
            at("pairs.parquet").display()
        );
        std::fs::write(at(CONFIG_FILE), config).unwrap();
        let without_card = of_adapter(folder.path()).unwrap();
        assert_eq!(
            without_card,
            json!({"method": "ddpo", "data": {"sha256": "d", "file": "pairs.parquet"},
                "model_revision": "m", "initial_adapter_sha256": null, "fingerprint": "f",
                "made_with": {"polyphony": "0.1.0"}})
        );
        // The card of other pairs under the same name tells nothing.
        write(
            "pairs.json",
            &json!({"sha256": "other", "embedders": ["semantic: e"]}),
        );
        assert_eq!(of_adapter(folder.path()).unwrap(), without_card);
        write(
            "pairs.json",
            &json!({"sha256": "d", "embedders": ["semantic: e"], "selected_by_embeddings": true, "pairs": 2}),
        );
        let with_card = of_adapter(folder.path()).unwrap();
        assert_eq!(with_card["data"]["embedders"], json!(["semantic: e"]));
        assert_eq!(with_card["data"]["selected_by_embeddings"], true);
        assert!(with_card["data"].get("pairs").is_none());
        // The summary of `weigh` counts likewise.
        write(
            "pairs.weights.json",
            &json!({"sha256": "d", "embedders": ["style: w"], "rows": 3}),
        );
        std::fs::remove_file(at("pairs.json")).unwrap();
        let weighed = of_adapter(folder.path()).unwrap();
        assert_eq!(weighed["data"]["embedders"], json!(["style: w"]));
        assert!(weighed["data"].get("rows").is_none());
    }
}
