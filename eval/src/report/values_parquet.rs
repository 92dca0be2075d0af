//! `values.parquet`: the value of each measure for each model and prompt, for further analysis.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use polyphony_engine::Result;
use polyphony_engine::store::PartWriter;

use crate::evaluation::{Evaluation, Text};
use crate::measures::registry::columns;

/// Writes `out/values.parquet`: one row per model, run and prompt with texts, with the columns `model`, `run`
/// (NULL for a model of one run), `prompt_id`, `responses` (the number of evaluated texts) and one column per measure; NULL where undefined.
///
/// # Errors
/// When the disk is full.
pub(super) fn write(evaluation: &Evaluation<'_>, out: &Path) -> Result<()> {
    let rows = rows(evaluation);
    let measures = evaluation.defined_columns();
    let mut fields = vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("run", DataType::Utf8, true),
        Field::new("prompt_id", DataType::Utf8, false),
        Field::new("responses", DataType::Int64, false),
    ];
    let responses = rows.iter().map(|row| row.responses as i64);
    let prompts = rows.iter().map(|row| row.prompt_id);
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|row| row.model),
        )),
        Arc::new(rows.iter().map(|row| row.run).collect::<StringArray>()),
        Arc::new(StringArray::from_iter_values(prompts)),
        Arc::new(Int64Array::from_iter_values(responses)),
    ];
    for measure in measures {
        fields.push(Field::new(columns()[measure].name, DataType::Float64, true));
        let values = rows.iter().map(|row| row.values[measure]);
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    let schema = Arc::new(Schema::new(fields));
    let mut writer = PartWriter::create(out, "values", Arc::clone(&schema))?;
    writer.write(&RecordBatch::try_new(schema, arrays)?)?;
    writer.finish()?;
    Ok(())
}

/// A row of the table.
struct Row<'a> {
    model: &'a str,
    run: Option<&'a str>,
    prompt_id: &'a str,
    responses: usize,
    values: &'a [Option<f64>],
}

/// The rows by model, run and prompt.
fn rows<'a>(evaluation: &'a Evaluation<'_>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (at, model) in evaluation.models.iter().enumerate() {
        let mut add = |prompt: usize, run, responses, values| {
            rows.push(Row {
                model,
                run,
                prompt_id: &evaluation.prompts[prompt].0,
                responses,
                values,
            });
        };
        let cells = evaluation.cells[at].iter().enumerate();
        if evaluation.runs[at].is_empty() {
            for (prompt, cell) in cells.filter_map(|(prompt, cell)| Some((prompt, cell.as_ref()?)))
            {
                add(prompt, None, cell.texts.len(), cell.values.as_slice());
            }
            continue;
        }
        for run in &evaluation.runs[at] {
            let of_run = |text: &&Text<'_>| text.output.run.as_deref() == Some(run.seed.as_str());
            let both = cells.clone().zip(&run.values);
            for ((prompt, cell), values) in both {
                if let (Some(cell), Some(values)) = (cell, values) {
                    let responses = cell.texts.iter().filter(of_run).count();
                    add(
                        prompt,
                        Some(run.seed.as_str()),
                        responses,
                        values.as_slice(),
                    );
                }
            }
        }
    }
    rows
}
