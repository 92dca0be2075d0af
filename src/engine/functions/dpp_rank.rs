//! `dpp_rank(semantic, style, limit) OVER (PARTITION BY prompt_id)`: the order in which the greedy MAP
//! inference of a determinantal point process selects the vectors.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
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
use crate::dpp::{CosineKernel, greedy_map};
use crate::schema;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ANALYTICAL,
        "Rank (1 to `limit`) of a row in the greedy MAP inference of a determinantal point process (Chen \
         et al. 2018) over the partition; NULL for the rows that are not selected. The kernel is the \
         product of the spaces' cosine kernels, plus 1e-6 on its diagonal. NULL vectors do not count.",
        "dpp_rank(semantic, style, limit) OVER (PARTITION BY prompt_id ORDER BY score DESC)",
    )
    .with_argument("semantic", "FixedSizeList or List of Float32, all of one length, or NULL")
    .with_argument("style", "the vectors of another space, or NULL")
    .with_argument("limit", "the number of rows to select; of equal rows the first is taken")
    .build()
});

/// The window function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DppRank {
    signature: Signature,
}

impl Default for DppRank {
    fn default() -> Self {
        let vector = schema::vector(1024);
        Self {
            signature: Signature::one_of(
                vec![
                    TypeSignature::UserDefined,
                    // A single example line, for SHOW FUNCTIONS.
                    TypeSignature::Exact(vec![vector.clone(), vector, DataType::Int64]),
                ],
                Volatility::Immutable,
            ),
        }
    }
}

impl WindowUDFImpl for DppRank {
    fn name(&self) -> &'static str {
        "dpp_rank"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            // A placeholder whose value is not known yet has the type Null.
            [semantic, style, limit] if limit.is_integer() || limit.is_null() => Ok(vec![
                coerced(self.name(), semantic)?,
                coerced(self.name(), style)?,
                DataType::Int64,
            ]),
            _ => plan_err!("dpp_rank takes two vectors and an integer"),
        }
    }

    fn partition_evaluator(
        &self,
        _arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(WholePartition::new(ranks)))
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(
            arguments.name(),
            DataType::Int64,
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

/// The ranks of a partition's rows.
fn ranks(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let spaces = [rows(&columns[0])?, rows(&columns[1])?];
    for space in &spaces {
        let mut dimensions = space.iter().flatten().map(|row| row.len());
        let first = dimensions.next();
        if let Some(odd) = dimensions.find(|dimension| Some(*dimension) != first) {
            return exec_err!(
                "dpp_rank: vectors of {} and of {odd} values in one partition",
                first.unwrap_or_default()
            );
        }
    }
    let mut values = spaces.iter().flatten().flatten().copied().flatten();
    if let Some(odd) = values.find(|value| !value.is_finite()) {
        return exec_err!("dpp_rank: a vector has the value {odd}");
    }
    let limits = columns[2].as_primitive::<Int64Type>();
    let limit = limits.iter().flatten().next().unwrap_or(0);
    let kernel = CosineKernel::new(&spaces);
    let limit = usize::try_from(limit).unwrap_or(0);
    let selected = greedy_map(columns[0].len(), limit, |i, j| kernel.value(i, j));
    let mut ranks = vec![None; columns[0].len()];
    for (rank, row) in (1..).zip(selected) {
        ranks[row] = Some(rank);
    }
    Ok(Arc::new(Int64Array::from(ranks)))
}
