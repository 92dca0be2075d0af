//! `deviation(vector) OVER (PARTITION BY prompt_id)`: the mean cosine distance of a vector to the
//! others.

pub mod operator;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, Signature, TypeSignature, Volatility,
    WindowUDFImpl, window_doc_sections::DOC_SECTION_ANALYTICAL,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use crate::{deviation, schema};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ANALYTICAL,
        "Mean cosine distance (0 to 2) of a vector to all other vectors of its partition; 0 for \
         one alone, NULL for NULL, NaN for a vector that is not finite. Neither counts among the others.",
        "deviation(vector) OVER (PARTITION BY prompt_id)",
    )
    .with_argument("vector", "FixedSizeList or List of Float32, all of one length")
    .build()
});

/// The window function. Only one partition is in memory: DataFusion streams sorted partitions through
/// it (`BoundedWindowAggExec`) because it declares bounded execution.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Deviation {
    signature: Signature,
}

impl Default for Deviation {
    fn default() -> Self {
        Self {
            signature: Signature::one_of(
                vec![
                    TypeSignature::UserDefined,
                    // A single example line, for SHOW FUNCTIONS.
                    TypeSignature::Exact(vec![schema::vector(1024)]),
                ],
                Volatility::Immutable,
            ),
        }
    }
}

impl WindowUDFImpl for Deviation {
    fn name(&self) -> &'static str {
        "deviation"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [vector] = types else {
            return plan_err!("deviation takes one vector, not {} arguments", types.len());
        };
        Ok(vec![coerced(self.name(), vector)?])
    }

    fn partition_evaluator(
        &self,
        _arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::<Evaluator>::default())
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(
            arguments.name(),
            DataType::Float64,
            true,
        )))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn limit_effect(&self, _arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

/// The type that a function's vector argument is converted to: a list of Float32.
///
/// # Errors
/// When it is no list of numbers.
pub(super) fn coerced(function: &str, vector: &DataType) -> Result<DataType> {
    let single =
        |item: &FieldRef| Arc::new(item.as_ref().clone().with_data_type(DataType::Float32));
    match vector {
        DataType::FixedSizeList(item, _) if item.data_type() == &DataType::Float32 => {
            Ok(vector.clone())
        }
        // DataFusion does not convert the items of a list of fixed size, but it makes it a list.
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item)
            if item.data_type().is_numeric() =>
        {
            Ok(DataType::List(single(item)))
        }
        other => plan_err!("{function} takes a vector of numbers, not {other}"),
    }
}

/// Evaluator of a partition: computes all deviations when the last row has arrived, then returns them
/// one by one.
#[derive(Debug, Default)]
struct Evaluator {
    row: usize,
    deviations: Option<Float64Array>,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        Ok(Arc::new(deviations(&values[..1])?))
    }

    /// Every row depends on all rows of the partition, so DataFusion must wait for its end.
    fn get_range(&self, _row: usize, rows: usize) -> Result<Range<usize>> {
        Ok(0..rows)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let all = match &mut self.deviations {
            Some(all) if all.len() == range.len() => all,
            stale => {
                self.row = 0;
                stale.insert(deviations(&[values[0].slice(range.start, range.len())])?)
            }
        };
        let row = self.row;
        self.row += 1;
        ScalarValue::try_from_array(all, row)
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}

/// The deviation of every row of a column of vectors that comes in chunks; NULL for NULL, NaN for a vector with a
/// value that is not finite, which does not count among the others.
///
/// # Errors
/// When the vectors differ in dimension.
pub fn deviations(chunks: &[ArrayRef]) -> Result<Float64Array> {
    let mut rows = Vec::with_capacity(chunks.iter().map(Array::len).sum());
    for chunk in chunks {
        rows.extend(self::rows(chunk)?);
    }
    let is_finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
    let is_finite: Vec<bool> = rows.iter().map(|row| row.is_none_or(is_finite)).collect();
    let present = rows
        .iter()
        .zip(&is_finite)
        .filter(|(_, is_finite)| **is_finite);
    let present: Vec<&[f32]> = present.filter_map(|(row, _)| *row).collect();
    if let Some(odd) = present.iter().find(|row| row.len() != present[0].len()) {
        return exec_err!(
            "deviation: vectors of {} and of {} values in one partition",
            present[0].len(),
            odd.len()
        );
    }
    let mut values = deviation::deviations_of(&present).into_iter();
    Ok(rows
        .iter()
        .zip(is_finite)
        .map(|(row, is_finite)| match row {
            Some(_) if !is_finite => Some(f64::NAN),
            row => row.and_then(|_| values.next()),
        })
        .collect())
}

/// The vectors of a column as slices, without a copy. A vector with a NULL among its values is no vector.
pub(super) fn rows(column: &ArrayRef) -> Result<Vec<Option<&[f32]>>> {
    match column.data_type() {
        DataType::FixedSizeList(_, _) => Ok(fixed_rows(column.as_fixed_size_list())),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            let values = lists.values().as_primitive::<Float32Type>();
            Ok((0..lists.len())
                .map(|row| {
                    let offsets = lists.value_offsets();
                    let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
                    let is_vector = lists.is_valid(row) && has_values(values, from..to);
                    is_vector.then(|| &values.values()[from..to])
                })
                .collect())
        }
        other => exec_err!("deviation takes a vector of Float32, not {other}"),
    }
}

fn fixed_rows(lists: &FixedSizeListArray) -> Vec<Option<&[f32]>> {
    let values = lists.values().as_primitive::<Float32Type>();
    let length = lists.value_length() as usize;
    (0..lists.len())
        .map(|row| {
            let from = lists.value_offset(row) as usize;
            let range = from..from + length;
            let is_vector = lists.is_valid(row) && has_values(values, range.clone());
            is_vector.then(|| &values.values()[range])
        })
        .collect()
}

/// Whether no value of a range is NULL.
fn has_values(values: &Float32Array, mut range: Range<usize>) -> bool {
    values.null_count() == 0 || range.all(|at| values.is_valid(at))
}
