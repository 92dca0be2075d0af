//! `nearest_distance(vector) OVER (PARTITION BY prompt_id)`: the cosine distance of a vector to the most
//! similar other one.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, Signature, TypeSignature, Volatility,
    WindowUDFImpl, window_doc_sections::DOC_SECTION_ANALYTICAL,
};
use datafusion::physical_plan::PhysicalExpr;

use super::deviation::{coerced, rows};
use super::whole_partition::WholePartition;
use crate::{nearest_distance, schema};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ANALYTICAL,
        "Cosine distance (0 to 2) of a vector to the most similar other vector of its partition; NULL \
         for one alone and for NULL, NaN for a vector that is not finite. Neither NULL nor NaN count among \
         the others.",
        "nearest_distance(vector) OVER (PARTITION BY prompt_id)",
    )
    .with_argument("vector", "FixedSizeList or List of Float32, all of one length")
    .build()
});

/// The window function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NearestDistance {
    signature: Signature,
}

impl Default for NearestDistance {
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

impl WindowUDFImpl for NearestDistance {
    fn name(&self) -> &'static str {
        "nearest_distance"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [vector] = types else {
            return plan_err!(
                "nearest_distance takes one vector, not {} arguments",
                types.len()
            );
        };
        Ok(vec![coerced(self.name(), vector)?])
    }

    fn partition_evaluator(
        &self,
        _arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(WholePartition::new(nearest_distances)))
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

/// The nearest distances of a partition's rows.
fn nearest_distances(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let rows = rows(&columns[0])?;
    let is_finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
    let is_finite: Vec<bool> = rows.iter().map(|row| row.is_none_or(is_finite)).collect();
    let present = rows
        .iter()
        .zip(&is_finite)
        .filter(|(_, is_finite)| **is_finite);
    let present: Vec<&[f32]> = present.filter_map(|(row, _)| *row).collect();
    if let Some(odd) = present.iter().find(|row| row.len() != present[0].len()) {
        return exec_err!(
            "nearest_distance: vectors of {} and of {} values in one partition",
            present[0].len(),
            odd.len()
        );
    }
    let mut values = nearest_distance::nearest_distances(&present).into_iter();
    let distances: Float64Array = rows
        .iter()
        .zip(is_finite)
        .map(|(row, is_finite)| match row {
            Some(_) if !is_finite => Some(f64::NAN),
            row => row.and_then(|_| values.next().flatten()),
        })
        .collect();
    Ok(Arc::new(distances))
}
