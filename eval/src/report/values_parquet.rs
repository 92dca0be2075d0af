//! `values.parquet`: the value of each measure for each model and prompt, for further analysis.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use polyphony_engine::Result;
use polyphony_engine::store::PartWriter;

use crate::evaluation::{Evaluation, ModelPrompt};
use crate::measures::registry::columns;

/// Writes `out/values.parquet`: one row per model and prompt with texts, with the columns `model`, `prompt_id`,
/// `responses` (the number of evaluated texts) and one column per measure; NULL where undefined.
///
/// # Errors
/// When the disk is full.
pub(super) fn write(evaluation: &Evaluation<'_>, out: &Path) -> Result<()> {
    let models = evaluation.models.iter().zip(&evaluation.cells);
    let rows: Vec<(&str, &str, &ModelPrompt<'_>)> = models
        .flat_map(|(model, cells)| {
            let prompts = evaluation.prompts.iter().zip(cells);
            prompts
                .filter_map(|((id, _), cell)| Some((model.as_str(), id.as_str(), cell.as_ref()?)))
        })
        .collect();
    let measures = evaluation.defined_columns();
    let mut fields = vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("prompt_id", DataType::Utf8, false),
        Field::new("responses", DataType::Int64, false),
    ];
    let responses = rows.iter().map(|(.., cell)| cell.texts.len() as i64);
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter_values(responses)),
    ];
    for measure in measures {
        fields.push(Field::new(columns()[measure].name, DataType::Float64, true));
        let values = rows.iter().map(|(.., cell)| cell.values[measure]);
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    let schema = Arc::new(Schema::new(fields));
    let mut writer = PartWriter::create(out, "values", Arc::clone(&schema))?;
    writer.write(&RecordBatch::try_new(schema, arrays)?)?;
    writer.finish()?;
    Ok(())
}
