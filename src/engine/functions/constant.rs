//! Constant arguments of aggregates: values that are the same in every row, such as a seed.

use arrow::array::{Array as _, ArrayRef};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::scalar::ScalarValue;

/// The value of a constant argument; `None` before the first row.
#[derive(Debug, Clone, Default)]
pub(super) struct Constant(Option<ScalarValue>);

impl Constant {
    /// Compares the rows of a batch with those before.
    ///
    /// # Errors
    /// When a row is NULL or has another value: the result would depend on the order of the rows.
    pub(super) fn update(&mut self, function: &str, name: &str, column: &ArrayRef) -> Result<()> {
        for row in 0..column.len() {
            let value = ScalarValue::try_from_array(column, row)?;
            match &self.0 {
                _ if value.is_null() => return exec_err!("{function}: {name} is NULL"),
                Some(before) if *before == value => {}
                Some(before) => {
                    return exec_err!(
                        "{function}: {name} must be the same in every row of a group (got {before} and {value})"
                    );
                }
                None => self.0 = Some(value),
            }
        }
        Ok(())
    }

    /// The value; that of `or` before the first row.
    pub(super) fn value(&self, or: ScalarValue) -> ScalarValue {
        self.0.clone().unwrap_or(or)
    }
}
