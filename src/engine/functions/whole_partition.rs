//! Window evaluator over a whole partition: computes all its rows when the last has arrived.

use std::ops::Range;

use arrow::array::ArrayRef;
use datafusion::error::Result;
use datafusion::logical_expr::PartitionEvaluator;
use datafusion::scalar::ScalarValue;

/// A function of the argument columns of one partition; the result has a value for each row.
pub(super) type Compute = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// An evaluator for window functions whose every row depends on all rows of the partition. Only one
/// partition is in memory: DataFusion streams sorted partitions through it (`BoundedWindowAggExec`),
/// because it declares bounded execution.
#[derive(Debug)]
pub(super) struct WholePartition {
    compute: Compute,
    row: usize,
    result: Option<ArrayRef>,
}

impl WholePartition {
    pub(super) fn new(compute: Compute) -> Self {
        Self {
            compute,
            row: 0,
            result: None,
        }
    }
}

impl PartitionEvaluator for WholePartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        (self.compute)(values)
    }

    /// Every row depends on all rows of the partition, so DataFusion must wait for its end.
    fn get_range(&self, _row: usize, rows: usize) -> Result<Range<usize>> {
        Ok(0..rows)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let all = match &mut self.result {
            Some(all) if all.len() == range.len() => all,
            stale => {
                self.row = 0;
                let slice = |column: &ArrayRef| column.slice(range.start, range.len());
                let columns: Vec<ArrayRef> = values.iter().map(slice).collect();
                stale.insert((self.compute)(&columns)?)
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
