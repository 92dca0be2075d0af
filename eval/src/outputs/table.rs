//! Table `outputs`: the evaluated texts as an Arrow batch, which becomes `outputs.parquet`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polyphony_engine::{Error, Result};

use super::Output;
use crate::measures::mean_words::count_words;

/// The schema of `outputs`: one row per text, sorted by model, prompt, run and sample.
pub fn schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("model", DataType::Utf8, false),
        field("run", DataType::Utf8, true),
        field("prompt_id", DataType::Utf8, false),
        field("sample", DataType::Int64, false),
        field("prompt", DataType::Utf8, false),
        field("response", DataType::Utf8, false),
        field("words", DataType::Int64, false),
        field("score", DataType::Float64, true),
        field("class", DataType::Int64, true),
        field("given_semantic", DataType::Float64, true),
        field("given_style", DataType::Float64, true),
    ]))
}

/// Converts outputs to a batch with the columns of [`schema`].
///
/// # Errors
/// When the texts or the prompts exceed 2 GiB, the limit of a string array.
pub fn batch(rows: &[&Output]) -> Result<RecordBatch> {
    fits(rows, i32::MAX as usize)?;
    let text = |of: fn(&Output) -> &str| -> ArrayRef {
        let values = rows.iter().map(|row| Some(of(row)));
        Arc::new(values.collect::<StringArray>())
    };
    let number = |of: fn(&Output) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(row)).collect::<Float64Array>())
    };
    let integer = |of: fn(&Output) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| of(row)).collect::<Int64Array>())
    };
    let columns = vec![
        text(|row| &row.model),
        Arc::new(
            rows.iter()
                .map(|row| row.run.as_deref())
                .collect::<StringArray>(),
        ),
        text(|row| &row.prompt_id),
        integer(|row| Some(row.sample)),
        text(|row| &row.prompt),
        text(|row| &row.response),
        integer(|row| Some(count_words(&row.response) as i64)),
        number(|row| row.score),
        integer(|row| row.class),
        number(|row| row.given.semantic),
        number(|row| row.given.style),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// An error if the texts, or their prompts, have more than `most` bytes in total.
fn fits(rows: &[&Output], most: usize) -> Result<()> {
    let texts = rows.iter().map(|row| row.response.len()).sum::<usize>();
    let prompts = rows.iter().map(|row| row.prompt.len()).sum::<usize>();
    let bytes = texts.max(prompts);
    if bytes <= most {
        return Ok(());
    }
    let message = format!("hold {bytes} bytes, of which {most} can be judged at once");
    let hint = "judge fewer models or prompts at a time, or fewer texts of each by --k";
    Err(Error::input("outputs", message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_above_the_limit_of_a_batch_are_an_error() {
        let output = |prompt: &str, response: &str| Output {
            prompt: prompt.to_owned(),
            response: response.to_owned(),
            ..Output::default()
        };
        let rows = [output("p", "four"), output("a long prompt", "five!")];
        let rows: Vec<&Output> = rows.iter().collect();
        assert!(fits(&rows, 14).is_ok());
        let error = fits(&rows, 13).unwrap_err().to_string();
        assert!(error.contains("hold 14 bytes, of which 13"), "{error}");
    }
}
