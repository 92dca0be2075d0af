//! Reports of `polyphony eval`, read back and compared.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// `report.json` of an output folder.
pub(crate) fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// The entry of a model in a report.
pub(crate) fn model<'a>(report: &'a Value, name: &str) -> &'a Value {
    let models = report["models"].as_array().unwrap();
    models.iter().find(|model| model["name"] == name).unwrap()
}

/// Asserts that a value equals an expected one that is rounded to `digits` decimal places.
pub(crate) fn near(value: &Value, expected: f64, digits: i32) {
    let value = value.as_f64().unwrap();
    let tolerance = 0.5001 * 10_f64.powi(-digits);
    assert!(
        (value - expected).abs() <= tolerance,
        "{value} is not {expected}"
    );
}
