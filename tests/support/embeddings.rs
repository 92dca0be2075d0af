//! Embeddings in Parquet files, compared with golden values.

use std::fs;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// All rows of a Parquet file as one batch.
pub(crate) fn rows(file: &Path) -> RecordBatch {
    let file = fs::File::open(file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The vector of each row of a table; none for NULL.
pub(crate) fn vectors(rows: &RecordBatch) -> Vec<Option<Vec<f32>>> {
    let column = rows
        .column_by_name("embedding")
        .unwrap()
        .as_fixed_size_list();
    column
        .iter()
        .map(|row| Some(row?.as_primitive::<Float32Type>().values().to_vec()))
        .collect()
}

/// The texts of a golden file, as JSON lines.
pub(crate) fn lines(expected: &serde_json::Value) -> String {
    let rows = expected["rows"].as_array().unwrap().iter().enumerate();
    rows.map(|(number, row)| {
        serde_json::json!({"number": number, "story": row["text"]}).to_string() + "\n"
    })
    .collect()
}

/// Asserts that vectors agree with those of a golden file, within an absolute tolerance per value.
pub(crate) fn assert_near(
    actual: &[Option<Vec<f32>>],
    expected: &serde_json::Value,
    tolerance: f64,
) {
    let rows = expected["rows"].as_array().unwrap();
    assert_eq!(actual.len(), rows.len());
    for (actual, row) in actual.iter().zip(rows) {
        let unit = row["unit"].as_array().unwrap();
        let actual = actual.as_ref().unwrap();
        assert_eq!(actual.len(), unit.len());
        for (value, expected) in actual.iter().zip(unit) {
            let off = (f64::from(*value) - expected.as_f64().unwrap()).abs();
            assert!(off < tolerance, "{off}: {}", row["text"]);
        }
    }
}

/// The content of a golden JSON file, by its path in the repository.
pub(crate) fn expected(file: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap())
        .unwrap()
}
