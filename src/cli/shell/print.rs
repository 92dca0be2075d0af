//! Output formats of query results: a table, CSV, TSV, a JSON array, JSON lines.

use std::io::Write;

use clap::ValueEnum;
use futures::TryStreamExt as _;
use polyphony_engine::datafusion::arrow::array::RecordBatch;
use polyphony_engine::datafusion::arrow::csv::{Writer as CsvWriter, WriterBuilder};
use polyphony_engine::datafusion::arrow::datatypes::SchemaRef;
use polyphony_engine::datafusion::arrow::json::{ArrayWriter, LineDelimitedWriter};
use polyphony_engine::datafusion::arrow::util::display::FormatOptions;
use polyphony_engine::datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use polyphony_engine::datafusion::dataframe::DataFrame;
use polyphony_engine::datafusion::error::Result;
use polyphony_engine::datafusion::logical_expr::LogicalPlan;
use polyphony_engine::datafusion::physical_plan::SendableRecordBatchStream;

use super::table;

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Tsv,
    // An array of objects.
    Json,
    // An object a line.
    Ndjson,
}

/// The limits of a printed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every row, every cell in full.
    Full,
    /// A limited number of rows, with cells truncated so that lines fit the terminal.
    Fitted {
        /// The maximum number of rows, 0 for all.
        rows: usize,
        /// The terminal's width in characters.
        width: usize,
    },
}

/// Settings of the output of results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// The output format.
    pub(super) format: Format,
    /// Whether a table has one line a column of a row instead of one line a row.
    pub(super) expanded: bool,
    /// The limits of a printed table.
    pub(super) extent: Extent,
}

/// Facts about a printed result, for the line under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Printed {
    /// The number of printed rows.
    pub(super) rows: usize,
    /// Whether there were more rows.
    pub(super) more: bool,
    /// Whether cells were truncated.
    pub(super) cut: bool,
}

/// Runs a query and prints its result.
///
/// # Errors
/// When the query fails or its result cannot be written.
pub(super) async fn print(
    frame: DataFrame,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<Printed> {
    let task = frame.task_ctx();
    let options = task.session_config().options().format.clone();
    let options = FormatOptions::try_from(&options)?;
    // A plan (EXPLAIN) has line breaks in its cells and is useful in full only.
    let is_plan = matches!(
        frame.logical_plan(),
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    );
    let extent = if is_plan {
        Extent::Full
    } else {
        settings.extent
    };
    let stream = frame.execute_stream().await?;
    match settings.format {
        Format::Table => {
            let limit = match extent {
                Extent::Fitted { rows, .. } if rows > 0 => rows,
                _ => usize::MAX,
            };
            let (schema, batches, more) = first_rows(stream, limit).await?;
            let rows = batches.iter().map(RecordBatch::num_rows).sum();
            let cut = if schema.fields().is_empty() {
                false
            } else if settings.expanded {
                table::write_expanded(&batches, &options, out)?;
                false
            } else if let Extent::Fitted { width, .. } = extent {
                table::write_fitted(&schema, &batches, &options, width, out)?
            } else {
                write_table(schema, &batches, &options, out)?;
                false
            };
            Ok(Printed { rows, more, cut })
        }
        Format::Csv => delimited(stream, b',', out).await,
        Format::Tsv => delimited(stream, b'\t', out).await,
        Format::Json => {
            let mut writer = ArrayWriter::new(&mut *out);
            let rows = each_batch(stream, |batch| Ok(writer.write(batch)?)).await?;
            if rows > 0 {
                writer.finish()?;
                writeln!(writer.into_inner())?;
            }
            Ok(Printed {
                rows,
                ..Printed::default()
            })
        }
        Format::Ndjson => {
            let mut writer = LineDelimitedWriter::new(out);
            let rows = each_batch(stream, |batch| Ok(writer.write(batch)?)).await?;
            writer.finish()?;
            Ok(Printed {
                rows,
                ..Printed::default()
            })
        }
    }
}

/// Writes a table in full.
pub(super) fn write_table(
    schema: SchemaRef,
    batches: &[RecordBatch],
    options: &FormatOptions<'_>,
    out: &mut dyn Write,
) -> Result<()> {
    let empty = [RecordBatch::new_empty(schema)];
    let batches = if batches.is_empty() { &empty } else { batches };
    let table = pretty_format_batches_with_options(batches, options)?;
    writeln!(out, "{}", plain(&table.to_string()))?;
    Ok(())
}

/// A text without control characters, which would move the cursor or change colours of the terminal.
pub(super) fn plain(text: &str) -> String {
    let replaced = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    };
    text.chars().map(replaced).collect()
}

/// Writes a result as CSV or TSV with a header, batch by batch.
async fn delimited(
    stream: SendableRecordBatchStream,
    delimiter: u8,
    out: &mut dyn Write,
) -> Result<Printed> {
    let mut writer: CsvWriter<_> = WriterBuilder::new()
        .with_header(true)
        .with_delimiter(delimiter)
        .build(out);
    let rows = each_batch(stream, |batch| Ok(writer.write(batch)?)).await?;
    Ok(Printed {
        rows,
        ..Printed::default()
    })
}

/// Passes each non-empty batch to `write`; returns the number of rows.
async fn each_batch(
    mut stream: SendableRecordBatchStream,
    mut write: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<usize> {
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            write(&batch)?;
            rows += batch.num_rows();
        }
    }
    Ok(rows)
}

/// The first rows of a stream, and whether more rows follow.
async fn first_rows(
    mut stream: SendableRecordBatchStream,
    limit: usize,
) -> Result<(SchemaRef, Vec<RecordBatch>, bool)> {
    let schema = stream.schema();
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > limit - rows {
            batches.push(batch.slice(0, limit - rows));
            return Ok((schema, batches, true));
        }
        rows += batch.num_rows();
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
    }
    Ok((schema, batches, false))
}
