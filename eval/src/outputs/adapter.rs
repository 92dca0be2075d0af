//! Adapter of a file of outputs: what the manifest of `polyphony generate` says about its training.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

/// The methods whose loss is weighted by deviation.
const WEIGHTED: [&str; 2] = ["ddpo", "dorpo"];

/// The training of the adapter that wrote a file of outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// The training method, as `ddpo`.
    pub method: String,
    /// The name of the training data's file.
    pub data: String,
    /// The SHA-256 of the training data.
    pub data_sha256: String,
    /// The embedders of the data's deviations, a line per space: `semantic: NAME, revision R`.
    pub embedders: Vec<String>,
    /// Those of them that the data's weights depend on.
    pub weight_embedders: Vec<String>,
    /// Whether the embedders also selected the pairs (`divpo`, `marginal`) or their candidates (`dpp`).
    pub selected_by_embeddings: bool,
}

/// What an embedder has done to the pairs that an adapter was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Influence {
    /// Its deviations weight the loss.
    Weighted,
    /// Its vectors selected the pairs.
    Selected,
}

impl Adapter {
    /// The adapter that the manifest beside an output names; `None` without a manifest or an adapter, or at scale 0,
    /// where the model writes as if it had none.
    pub(super) fn of_outputs(outputs: &Path) -> Option<Self> {
        let mut path = outputs.as_os_str().to_owned();
        path.push(".json");
        let manifest: Value = serde_json::from_slice(&fs::read(PathBuf::from(path)).ok()?).ok()?;
        if manifest["adapter_scale"].as_f64() == Some(0.0) {
            return None;
        }
        let adapter = manifest.get("adapter")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let data = &adapter["data"];
        let lines = |value: &Value| -> Option<Vec<String>> {
            let lines = value.as_array()?.iter();
            Some(lines.map(text).collect())
        };
        let embedders = lines(&data["embedders"]).unwrap_or_default();
        Some(Self {
            method: text(&adapter["method"]),
            data: text(&data["file"]),
            data_sha256: text(&data["sha256"]),
            // Without this field the weights are taken to depend on all of them.
            weight_embedders: lines(&data["weight_embedders"]).unwrap_or_else(|| embedders.clone()),
            embedders,
            selected_by_embeddings: data["selected_by_embeddings"] == true,
        })
    }

    /// What an embedder has done to the training pairs; `None` if it had no influence on them. Embedders are equal
    /// by revision, whatever their dtype and treatment of long texts, or by hub id.
    pub fn influence_of(&self, name: &str, revision: &str) -> Option<Influence> {
        let is_same = |line: &String| {
            let of_space = line.split_once(": ");
            let parts = of_space.and_then(|(_, embedder)| embedder.rsplit_once(", revision "));
            parts.is_some_and(|other| is_same_embedder(other, (name, revision)))
        };
        if WEIGHTED.contains(&self.method.as_str()) && self.weight_embedders.iter().any(is_same) {
            return Some(Influence::Weighted);
        }
        let is_selected = self.selected_by_embeddings && self.method != "sft";
        (is_selected && self.embedders.iter().any(is_same)).then_some(Influence::Selected)
    }
}

/// Whether two embedders, each with name and revision, are one. The name of a folder says nothing.
fn is_same_embedder(one: (&str, &str), other: (&str, &str)) -> bool {
    let is_builtin = |(name, _): (&str, &str)| name.starts_with("builtin:");
    let is_named = |(name, _): (&str, &str)| name.contains('/') || name.starts_with("builtin:");
    // `REVISION-bf16`, `REVISION-mean`: the same weights.
    let weights = |(_, revision): (&'_ str, &str)| {
        let weights = revision.split('-').next();
        weights.unwrap_or_default().to_owned()
    };
    let model = |(name, _): (&str, &str)| name.split('#').next().unwrap_or_default().to_owned();
    if is_named(one) && is_named(other) && model(one) == model(other) {
        return true;
    }
    !is_builtin(one) && !is_builtin(other) && weights(one) == weights(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn adapter(method: &str, embedder: &str, selected: bool) -> Adapter {
        let folder = tempfile::tempdir().unwrap();
        let outputs = folder.path().join("m.jsonl");
        let manifest = json!({"adapter": {"method": method, "data": {
            "sha256": "d", "file": "pairs.parquet", "selected_by_embeddings": selected,
            "embedders": [format!("semantic: {embedder}"), "style: model, revision fedc"],
        }}});
        fs::write(folder.path().join("m.jsonl.json"), manifest.to_string()).unwrap();
        Adapter::of_outputs(&outputs).unwrap()
    }

    #[test]
    fn weighted_methods_and_selected_pairs_depend_on_their_embedders() {
        let builtin = "builtin:words, revision 1";
        let influence = |method, selected| {
            adapter(method, builtin, selected).influence_of("builtin:words", "1")
        };
        assert_eq!(influence("ddpo", false), Some(Influence::Weighted));
        assert_eq!(influence("dorpo", true), Some(Influence::Weighted));
        assert_eq!(influence("dpo", true), Some(Influence::Selected));
        assert_eq!(influence("dpo", false), None);
        assert_eq!(influence("sft", true), None);
    }

    #[test]
    fn embedders_are_equal_by_revision_or_hub_id() {
        let is_same = |embedder: &str, name: &str, revision: &str| {
            let adapter = adapter("ddpo", embedder, false);
            adapter.influence_of(name, revision).is_some()
        };
        assert!(is_same("model, revision abc", "copy", "abc-mean"));
        assert!(is_same("a/b#x, revision 1-bf16", "a/b", "2"));
        assert!(!is_same("model, revision abc", "model", "abd"));
        assert!(!is_same("builtin:words, revision 1", "builtin:style", "1"));
        assert!(!is_same("a/b, revision 1", "c/b", "2"));
        // A weight that depends on no embedder.
        let by_votes = Adapter {
            weight_embedders: Vec::new(),
            ..adapter("ddpo", "a/b, revision 1", false)
        };
        assert_eq!(by_votes.influence_of("a/b", "1"), None);
        // Another space counts as well.
        assert!(is_same("a/b, revision 1", "style", "fedc"));
    }

    #[test]
    fn outputs_without_a_manifest_have_no_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = folder.path().join("m.jsonl");
        assert_eq!(Adapter::of_outputs(&outputs), None);
        for manifest in [
            json!({"weights": {}}),
            json!({"adapter": {"method": "ddpo"}, "adapter_scale": 0.0}),
        ] {
            fs::write(folder.path().join("m.jsonl.json"), manifest.to_string()).unwrap();
            assert_eq!(Adapter::of_outputs(&outputs), None);
        }
    }
}
