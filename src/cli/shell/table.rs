//! Tables for a terminal: cells truncated to its width, or expanded to one line a column.

use std::io::Write;
use std::sync::Arc;

use polyphony_engine::datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use polyphony_engine::datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polyphony_engine::datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use polyphony_engine::datafusion::error::Result;

use super::print::{plain, write_table};

/// The minimum width of a truncated cell, in characters.
const MIN_CELL: usize = 8;

/// Writes a table with lines of at most `width` characters, or more where cells would be narrower than
/// `MIN_CELL`. Returns whether a cell was truncated.
pub(super) fn write_fitted(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: &FormatOptions<'_>,
    width: usize,
    out: &mut dyn Write,
) -> Result<bool> {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut columns = vec![Vec::new(); names.len()];
    for batch in batches {
        for (cells, array) in columns.iter_mut().zip(batch.columns()) {
            let formatter = ArrayFormatter::try_new(array, options)?;
            for row in 0..batch.num_rows() {
                cells.push(one_line(&formatter.value(row).try_to_string()?));
            }
        }
    }
    let widths: Vec<usize> = columns
        .iter()
        .zip(&names)
        .map(|(cells, name)| {
            let cells = cells.iter().map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(name.chars().count())
        })
        .collect();
    let limit = cell_limit(&widths, width);
    let mut cut = false;
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for cells in columns {
        let cells = cells.into_iter().map(|cell| {
            let short = shorten(&cell, limit);
            cut |= short.is_some();
            short.unwrap_or(cell)
        });
        arrays.push(Arc::new(StringArray::from_iter_values(cells)));
    }
    let fields: Vec<Field> = names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    write_table(schema, &[batch], options, out)?;
    Ok(cut)
}

/// Writes rows one after another, with one line a column and values in full.
pub(super) fn write_expanded(
    batches: &[RecordBatch],
    options: &FormatOptions<'_>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut number = 0;
    for batch in batches {
        let schema = batch.schema();
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.unwrap_or(0);
        let formatters = batch
            .columns()
            .iter()
            .map(|array| Ok(ArrayFormatter::try_new(array, options)?))
            .collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            writeln!(out, "-[ row {number} ]-")?;
            for (name, formatter) in names.iter().zip(&formatters) {
                let value = plain(&formatter.value(row).try_to_string()?);
                let mut lines = value.lines();
                let first = lines.next().unwrap_or_default();
                writeln!(out, "{name:width$} | {first}")?;
                for line in lines {
                    writeln!(out, "{:width$} | {line}", "")?;
                }
            }
        }
    }
    Ok(())
}

/// The maximum width of cells, so that columns of these widths fill a line of `total` characters including
/// borders. Wide columns get the room that narrow ones do not need.
fn cell_limit(widths: &[usize], total: usize) -> usize {
    let mut widths = widths.to_vec();
    widths.sort_unstable();
    let mut room = total.saturating_sub(3 * widths.len() + 1);
    let columns = widths.len();
    for (number, width) in widths.into_iter().enumerate() {
        let share = room / (columns - number);
        if width > share {
            return share.max(MIN_CELL);
        }
        room -= width;
    }
    usize::MAX
}

/// A cell's text on one line.
fn one_line(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\n', '\r'], "↵")
}

/// A cell's text truncated to `limit` characters, if it is longer.
fn shorten(text: &str, limit: usize) -> Option<String> {
    let (end, _) = text.char_indices().nth(limit)?;
    let end = text[..end]
        .char_indices()
        .last()
        .map_or(0, |(last, _)| last);
    Some(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polyphony_engine::datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
    use polyphony_engine::datafusion::arrow::util::display::FormatOptions;

    use super::{cell_limit, shorten, write_expanded, write_fitted};

    fn stories() -> RecordBatch {
        let texts = ["short", "one\ntwo and many more words of a long story"];
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 22])) as _),
            ("story", Arc::new(StringArray::from(texts.to_vec())) as _),
        ])
        .unwrap()
    }

    #[test]
    fn wide_cells_are_truncated_to_the_width_of_the_terminal() {
        let (batch, options) = (stories(), FormatOptions::default());
        let mut out = Vec::new();
        let schema = batch.schema();
        assert!(write_fitted(&schema, &[batch], &options, 30, &mut out).unwrap());
        let expected = "\
+----+-----------------------+
| id | story                 |
+----+-----------------------+
| 1  | short                 |
| 22 | one↵two and many mor… |
+----+-----------------------+
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn escape_sequences_of_cells_do_not_reach_the_terminal() {
        let column: super::ArrayRef = Arc::new(StringArray::from(vec!["a\u{1b}[2Jb\u{7}\u{9b}1m"]));
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let options = FormatOptions::default();
        let mut out = Vec::new();
        write_expanded(std::slice::from_ref(&batch), &options, &mut out).unwrap();
        super::write_table(batch.schema(), &[batch], &options, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert_eq!(text.matches("a\u{fffd}[2Jb").count(), 2, "{text:?}");
    }

    #[test]
    fn cells_that_fit_are_not_truncated() {
        let (batch, options) = (stories().slice(0, 1), FormatOptions::default());
        let schema = batch.schema();
        assert!(!write_fitted(&schema, &[batch], &options, 30, &mut Vec::new()).unwrap());
    }

    #[test]
    fn expanded_rows_show_values_in_full() {
        let mut out = Vec::new();
        write_expanded(&[stories()], &FormatOptions::default(), &mut out).unwrap();
        let expected = "\
-[ row 1 ]-
id    | 1
story | short
-[ row 2 ]-
id    | 22
story | one
      | two and many more words of a long story
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn wide_columns_get_the_room_of_narrow_ones() {
        assert_eq!(cell_limit(&[3, 4, 5], 80), usize::MAX);
        assert_eq!(cell_limit(&[2, 1000], 80), 71);
        assert_eq!(cell_limit(&[500, 1000], 87), 40);
        assert_eq!(cell_limit(&[500; 40], 80), super::MIN_CELL);
    }

    #[test]
    fn text_is_truncated_between_characters() {
        assert_eq!(shorten("äöü", 3), None);
        assert_eq!(shorten("äöüß", 3).as_deref(), Some("äö…"));
    }
}
