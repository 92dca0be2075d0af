//! `weight(deviation_a[, deviation_b]) OVER (PARTITION BY prompt_id)`: the weight of a response in its prompt.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, Signature, TypeSignature, Volatility,
    WindowUDFImpl, window_doc_sections::DOC_SECTION_ANALYTICAL,
};
use datafusion::physical_plan::PhysicalExpr;

use super::minmax::scaled;
use crate::weight::mean_one;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ANALYTICAL,
        "The weight of a response (Chung et al. 2025, section 3): its deviations, min-max scaled within \
         the partition; their geometric mean; divided by its mean over the partition. 1 where all are \
         equal. Where one deviation is NULL the other counts alone; NULL where both are.",
        "weight(deviation_a[, deviation_b]) OVER (PARTITION BY prompt_id)",
    )
    .with_argument("deviation_a", "the deviation in one space, a number")
    .with_argument("deviation_b", "the deviation in another space, a number")
    .build()
});

/// The window function. A frame is refused: its partition is a prompt. The order of the window is
/// the order of the sum of the mean, so with `ORDER BY response_id` the last bit is the same in every run.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Weight {
    signature: Signature,
}

impl Default for Weight {
    fn default() -> Self {
        Self {
            signature: Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Float64]),
                    TypeSignature::Exact(vec![DataType::Float64; 2]),
                ],
                Volatility::Immutable,
            ),
        }
    }
}

impl WindowUDFImpl for Weight {
    fn name(&self) -> &'static str {
        "weight"
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
        let Some((first, others)) = values.split_first() else {
            return exec_err!("weight takes one or two deviations");
        };
        let first = scaled(first.as_primitive::<Float64Type>());
        let combined: Vec<Option<f64>> = match others.first() {
            None => first.iter().collect(),
            Some(second) => {
                let second = scaled(second.as_primitive::<Float64Type>());
                let pairs = first.iter().zip(second.iter());
                pairs.map(|(a, b)| combine(a, b)).collect()
            }
        };
        Ok(Arc::new(weights(&combined)))
    }
}

/// The geometric mean of a response's scaled deviations; one counts alone where the other is absent.
fn combine(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a * b).sqrt()),
        (alone, None) | (None, alone) => alone,
    }
}

/// Geometric means divided by their mean; NULL for NULL.
fn weights(combined: &[Option<f64>]) -> Float64Array {
    let present: Vec<f64> = combined.iter().flatten().copied().collect();
    let mut values = mean_one(&present).into_iter();
    combined
        .iter()
        .map(|value| value.and_then(|_| values.next()))
        .collect()
}
