//! `minmax(x) OVER (PARTITION BY prompt_id)`: a value scaled to [0, 1] within its partition.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDFImpl,
    window_doc_sections::DOC_SECTION_ANALYTICAL,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::weight;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ANALYTICAL,
        "A number scaled to [0, 1] within its partition: (x - min) / (max - min), 1/2 where all are \
         equal. NULL stays NULL, and NaN stays NaN; neither counts among the others.",
        "minmax(x) OVER (PARTITION BY prompt_id)",
    )
    .with_argument("x", "a number")
    .build()
});

/// The window function. A frame is refused: its partition is the range of the minimum and maximum.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct MinMax {
    signature: Signature,
}

impl Default for MinMax {
    fn default() -> Self {
        Self {
            signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable),
        }
    }
}

impl WindowUDFImpl for MinMax {
    fn name(&self) -> &'static str {
        "minmax"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let field = Field::new(arguments.name(), DataType::Float64, true);
        Ok(Arc::new(field))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn limit_effect(&self, _arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

/// Evaluator of a partition, whole.
#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let Some(numbers) = values.first() else {
            return exec_err!("minmax takes one number");
        };
        Ok(Arc::new(scaled(numbers.as_primitive::<Float64Type>())))
    }
}

/// The numbers of a partition, min-max scaled; NULL for NULL.
pub(super) fn scaled(numbers: &Float64Array) -> Float64Array {
    let present: Vec<f64> = numbers.iter().flatten().collect();
    let mut values = weight::min_max(&present).into_iter();
    numbers
        .iter()
        .map(|number| number.and_then(|_| values.next()))
        .collect()
}
