//! Verification: makes a report again from its inputs, by the arguments that it records, and lists every value
//! that differs and every input that changed or is missing.

use std::fs;
use std::path::{Path, PathBuf};

use polyphony_engine::store::Store;
use polyphony_engine::{Error, Result};
use polyphony_io::hash::sha256_file;
use polyphony_io::progress::Progress;
use serde_json::{Map, Value};

use crate::config::EvalConfig;
use crate::outputs::OutputPath;
use crate::report::MODEL_ARGUMENTS;
use crate::run;

/// The hint of an error about a report that cannot be verified.
const HINT: &str = "name the report.json of `polyphony eval`, or evaluate the files again";

/// A report as it was published.
#[derive(Debug)]
pub struct RecordedReport {
    path: PathBuf,
    report: Value,
}

/// An input that is not what the report was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputChange {
    /// The file is not there.
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// The file, the store's manifest or a part of the store has other bytes.
    Changed {
        /// Its path.
        path: PathBuf,
        /// The SHA-256 that is recorded.
        recorded: String,
        /// The SHA-256 that it has.
        found: String,
    },
}

/// A value of the report that came out differently.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The path of the value in report.json, as jq takes it: `.models[0].values.reward.mean`.
    pub path: String,
    /// The value in the report; `None` if it has none there.
    pub recorded: Option<Value>,
    /// The value that was computed; `None` if there is none.
    pub recomputed: Option<Value>,
}

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verification {
    /// The number of compared values.
    pub compared: usize,
    /// The values that differ.
    pub differences: Vec<Difference>,
    /// The number of values that the report does not have because an older version wrote it.
    pub new_values: usize,
}

impl RecordedReport {
    /// Reads a report.json.
    ///
    /// # Errors
    /// When the file cannot be read, is no report, or is of a version that did not record its arguments.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() {
            path.join("report.json")
        } else {
            path.to_path_buf()
        };
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let report: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(&path, format!("is no report ({error})"), HINT))?;
        if report["format"] != "polyphony-report" {
            return Err(Error::input(&path, "is no report of polyphony", HINT));
        }
        if !report["arguments"].is_object() || !report["inputs"].is_array() {
            let version = report["versions"]["polyphony"]
                .as_str()
                .unwrap_or("an older version");
            let message =
                format!("was written by polyphony {version}, and does not record its arguments");
            return Err(Error::input(&path, message, HINT));
        }
        Ok(Self { path, report })
    }

    /// The recorded options by flag, without outputs and gold. Models that are folders have their paths.
    pub fn options(&self) -> Map<String, Value> {
        let mut options = self.report["arguments"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        options.remove("outputs");
        options.remove("gold");
        for name in MODEL_ARGUMENTS {
            if let Some(Value::String(model)) = options.get_mut(name) {
                let path = self.resolve(model);
                if path.exists() {
                    *model = path.to_string_lossy().into_owned();
                }
            }
        }
        options
    }

    /// The recorded paths of outputs.
    pub fn outputs(&self) -> Vec<OutputPath> {
        let outputs = self.report["arguments"]["outputs"].as_array();
        let outputs = outputs.into_iter().flatten().filter_map(|output| {
            Some(OutputPath {
                model: output["model"].as_str().map(str::to_owned),
                path: self.resolve(output["path"].as_str()?),
            })
        });
        outputs.collect()
    }

    /// The recorded path of the texts by people.
    pub fn gold(&self) -> Option<PathBuf> {
        let gold = self.report["arguments"]["gold"].as_str();
        gold.map(|gold| self.resolve(gold))
    }

    /// A path that is relative to the report's folder.
    fn resolve(&self, path: &str) -> PathBuf {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).join(path)
    }

    /// What differs between the versions that wrote the report and this program's, such as
    /// `polyphony 0.1.0, here 0.2.0`.
    pub fn version_changes(&self) -> Vec<String> {
        let recorded = self.report["versions"].as_object();
        let now = crate::report::versions();
        let changes = now.iter().filter_map(|(name, now)| {
            let before = recorded.and_then(|recorded| recorded.get(*name)?.as_str());
            let before = before.unwrap_or("none");
            (before != now).then(|| format!("{name} {before}, here {now}"))
        });
        changes.collect()
    }

    /// The inputs that changed or are missing, where the report says they are.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn input_changes(&self) -> Result<Vec<InputChange>> {
        let mut changes = Vec::new();
        for input in self.report["inputs"].as_array().into_iter().flatten() {
            let recorded = input["sha256"].as_str().unwrap_or_default();
            let path = self.resolve(input["path"].as_str().unwrap_or_default());
            let file = if path.is_dir() {
                path.join("manifest.json")
            } else {
                path.clone()
            };
            if !file.is_file() {
                changes.push(InputChange::Missing { path });
                continue;
            }
            compare_hash(&file, recorded, &mut changes)?;
            if path.is_dir() {
                compare_store(&path, &mut changes)?;
            }
        }
        Ok(changes)
    }

    /// Makes the report again, in a temporary folder, and compares all values. `config` has the options and paths
    /// of [`Self::options`], [`Self::outputs`] and [`Self::gold`]. If its paths are others, the inputs' hashes are
    /// compared as well, which otherwise [`Self::input_changes`] does. `tolerance` is the relative difference up to
    /// which two numbers count as equal.
    ///
    /// # Errors
    /// When the evaluation fails, or the temporary folder cannot be written.
    pub async fn recompute(
        &self,
        mut config: EvalConfig,
        tolerance: f64,
        progress: &dyn Progress,
    ) -> Result<Verification> {
        let folder = tempfile::tempdir().map_err(Error::io("make", &std::env::temp_dir()))?;
        config.out = folder.path().to_path_buf();
        let report = run::run(&config, progress).await?;
        // Both sides are parsed from text, so that a number is rounded alike.
        let recomputed: Value = serde_json::from_slice(&serde_json::to_vec(&report)?)?;
        let is_older = self.report["versions"] != recomputed["versions"];
        let mut comparison = Comparison {
            tolerance,
            is_older,
            result: Verification::default(),
        };
        let moved = config.outputs != self.outputs() || config.gold != self.gold();
        let [recorded, recomputed] =
            [&self.report, &recomputed].map(|report| comparable(report, moved));
        comparison.values(String::new(), Some(&recorded), Some(&recomputed));
        Ok(comparison.result)
    }
}

/// Adds a file whose hash is not the recorded one.
fn compare_hash(path: &Path, recorded: &str, changes: &mut Vec<InputChange>) -> Result<()> {
    let found = sha256_file(path)?;
    if found != recorded {
        changes.push(InputChange::Changed {
            path: path.to_path_buf(),
            recorded: recorded.to_owned(),
            found,
        });
    }
    Ok(())
}

/// Adds the parts of a store's prompts and responses whose hashes are not those of its manifest.
fn compare_store(folder: &Path, changes: &mut Vec<InputChange>) -> Result<()> {
    let store = Store::open(folder)?;
    for table in ["prompts", "responses"] {
        for (path, part) in store.table(table).entries() {
            if path.is_file() {
                compare_hash(path, &part.sha256, changes)?;
            } else {
                let path = path.clone();
                changes.push(InputChange::Missing { path });
            }
        }
    }
    Ok(())
}

/// The values of a report that verification compares: not the versions, the arguments and the paths of inputs, which
/// are reported on their own, nor the name of a model that has a revision; the hashes of inputs only with `hashes`.
fn comparable(report: &Value, hashes: bool) -> Value {
    let mut report = report.clone();
    if let Some(fields) = report.as_object_mut() {
        fields.remove("versions");
        fields.remove("arguments");
    }
    for input in report["inputs"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = input.as_object_mut() {
            fields.remove("path");
            if !hashes {
                fields.remove("sha256");
            }
        }
    }
    let without = |source: Option<&mut Value>, name: &str| {
        let fields = source.and_then(Value::as_object_mut);
        if let Some(fields) =
            fields.filter(|fields| fields.get("revision").is_some_and(|of| !of.is_null()))
        {
            fields.remove(name);
        }
    };
    without(report.pointer_mut("/spaces/semantic"), "name");
    without(report.pointer_mut("/spaces/style"), "name");
    without(report.pointer_mut("/reward"), "source");
    report
}

/// A comparison in progress.
struct Comparison {
    tolerance: f64,
    /// Whether another version wrote the report, which may lack values.
    is_older: bool,
    result: Verification,
}

impl Comparison {
    /// Compares two values and all values in them.
    fn values(&mut self, path: String, recorded: Option<&Value>, recomputed: Option<&Value>) {
        match (recorded, recomputed) {
            (Some(Value::Object(before)), Some(Value::Object(now))) => {
                let added = now.keys().filter(|name| !before.contains_key(*name));
                for name in before.keys().chain(added) {
                    let at = format!("{path}{}", step(name));
                    self.values(at, before.get(name), now.get(name));
                }
            }
            (Some(Value::Array(before)), Some(Value::Array(now))) => {
                for at in 0..before.len().max(now.len()) {
                    self.values(format!("{path}[{at}]"), before.get(at), now.get(at));
                }
            }
            (None, Some(_)) if self.is_older => self.result.new_values += 1,
            (recorded, recomputed) => {
                self.result.compared += 1;
                if !self.are_equal(recorded, recomputed) {
                    self.result.differences.push(Difference {
                        path,
                        recorded: recorded.cloned(),
                        recomputed: recomputed.cloned(),
                    });
                }
            }
        }
    }

    fn are_equal(&self, recorded: Option<&Value>, recomputed: Option<&Value>) -> bool {
        let number = |value: Option<&Value>| value.and_then(Value::as_f64);
        match (number(recorded), number(recomputed)) {
            (Some(a), Some(b)) => a == b || (a - b).abs() <= self.tolerance * a.abs().max(b.abs()),
            _ => recorded == recomputed,
        }
    }
}

/// A field in a path: `.name`, or `["a name"]`.
fn step(name: &str) -> String {
    let is_word = name
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if is_word && !name.starts_with(|letter: char| letter.is_ascii_digit()) {
        format!(".{name}")
    } else {
        format!("[{}]", Value::from(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compare(
        recorded: &Value,
        recomputed: &Value,
        tolerance: f64,
        is_older: bool,
    ) -> Verification {
        let mut comparison = Comparison {
            tolerance,
            is_older,
            result: Verification::default(),
        };
        comparison.values(String::new(), Some(recorded), Some(recomputed));
        comparison.result
    }

    #[test]
    fn differences_have_paths() {
        let recorded = json!({"a": [{"x": 1.0, "y": null}, {"x": 2}], "b c": "d", "gone": 1});
        let recomputed = json!({"a": [{"x": 1.5, "y": null}], "b c": "e", "new": [1, 2]});
        let result = compare(&recorded, &recomputed, 0.0, false);
        let paths: Vec<&str> = result.differences.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(paths, [".a[0].x", ".a[1]", "[\"b c\"]", ".gone", ".new"]);
        assert_eq!(result.differences[0].recomputed, Some(json!(1.5)));
        assert_eq!(result.differences[1].recomputed, None);
        let older = compare(&recorded, &recomputed, 0.0, true);
        assert_eq!((older.differences.len(), older.new_values), (4, 1));
    }

    #[test]
    fn tolerance_is_relative() {
        let (recorded, recomputed) = (json!([1000.0, 0.0]), json!([1000.1, 0.0]));
        assert_eq!(compare(&recorded, &recomputed, 1e-3, false).differences, []);
        assert_eq!(
            compare(&recorded, &recomputed, 1e-5, false)
                .differences
                .len(),
            1
        );
        assert_eq!(
            compare(&json!([1e-9]), &json!([0.0]), 1e-3, false)
                .differences
                .len(),
            1
        );
    }

    #[test]
    fn names_of_models_do_not_count_where_a_revision_does() {
        let report = |name: &str, revision: Value| {
            comparable(
                &json!({
                    "versions": {"polyphony": name}, "arguments": {"k": name},
                    "spaces": {"semantic": {"name": name, "revision": revision}, "style": null},
                    "reward": {"source": name, "revision": revision}, "inputs": [{"path": name, "sha256": "s"}],
                }),
                true,
            )
        };
        assert_eq!(report("a", json!("r")), report("b", json!("r")));
        assert_ne!(report("a", json!("r")), report("a", json!("s")));
        assert_ne!(report("a", Value::Null), report("b", Value::Null));
    }
}
