//! SQL aggregates (UDAFs) of the registry's measures: `array_agg` collects the values of a group in the order
//! of `ORDER BY`, and the measure is computed from them at the end.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Int64Type};
use polyphony_engine::datafusion::common::{exec_err, plan_err};
use polyphony_engine::datafusion::error::Result;
use polyphony_engine::datafusion::functions_aggregate::array_agg::array_agg_udaf;
use polyphony_engine::datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use polyphony_engine::datafusion::logical_expr::utils::AggregateOrderSensitivity;
use polyphony_engine::datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature, Volatility,
    aggregate_doc_sections::DOC_SECTION_STATISTICAL,
};
use polyphony_engine::datafusion::physical_expr::expressions::Literal;
use polyphony_engine::datafusion::prelude::SessionContext;
use polyphony_engine::datafusion::scalar::ScalarValue;

use super::measure::{Function, Measure};
use super::registry::MEASURES;
use crate::cosines::cosines;

/// Registers an aggregate for every measure with a session. An undefined value is NULL.
pub fn register_all(context: &SessionContext) {
    for measure in MEASURES {
        context.register_udaf(AggregateUDF::from(MeasureUdaf::new(measure)));
    }
}

/// The signature of the SQL aggregate: `distinct_n(text[, n])`.
pub(super) fn signature(measure: &Measure) -> String {
    let arguments = measure.function.arguments().iter().map(|(name, _)| *name);
    let arguments: Vec<&str> = arguments.collect();
    let parameters = measure.parameters.iter();
    let optional: String = parameters
        .map(|parameter| format!("[, {}]", parameter.name))
        .collect();
    format!("{}({}{optional})", measure.name, arguments.join(", "))
}

/// The types of the input columns.
fn column_types(function: Function) -> Vec<DataType> {
    match function {
        Function::Texts(_) => vec![DataType::Utf8],
        Function::Cosines(_) => {
            let item = Field::new_list_field(DataType::Float32, true);
            vec![DataType::List(Arc::new(item))]
        }
        Function::Classes(_) => vec![DataType::Int64],
        Function::ClassesAndUtilities(_) => vec![DataType::Int64, DataType::Float64],
        Function::Rewards(_) => vec![DataType::Float64],
    }
}

/// Computes a measure from the collected columns. NULLs are skipped, except that a single NULL makes measures
/// of rewards and measures of several columns undefined.
fn measure_columns(function: Function, columns: &[ArrayRef], parameters: &[f64]) -> Option<f64> {
    let is_complete = || columns.iter().all(|column| column.null_count() == 0);
    match function {
        Function::Texts(function) => {
            let texts: Vec<&str> = columns[0].as_string::<i32>().iter().flatten().collect();
            function(&texts, parameters)
        }
        Function::Cosines(function) => {
            let present: Vec<ArrayRef> = columns[0].as_list::<i32>().iter().flatten().collect();
            // A vector with a NULL among its values is no vector, as in `deviation`.
            let present = present.into_iter().filter(|row| row.null_count() == 0);
            let present: Vec<ArrayRef> = present.collect();
            let rows: Vec<&[f32]> = present
                .iter()
                .map(|row| &**row.as_primitive::<Float32Type>().values())
                .collect();
            let same_length = rows.windows(2).all(|pair| pair[0].len() == pair[1].len());
            let mut values = rows.iter().copied().flatten();
            (same_length && values.all(|value| value.is_finite()))
                .then(|| function(&cosines(&rows), rows.len(), parameters))
                .flatten()
        }
        Function::Classes(function) => function(&integers(&columns[0]), parameters),
        Function::ClassesAndUtilities(function) => is_complete()
            .then(|| {
                let utilities = columns[1].as_primitive::<Float64Type>().values();
                function(&integers(&columns[0]), utilities, parameters)
            })
            .flatten(),
        Function::Rewards(function) => is_complete()
            .then(|| {
                function(
                    columns[0].as_primitive::<Float64Type>().values(),
                    parameters,
                )
            })
            .flatten(),
    }
}

fn integers(column: &ArrayRef) -> Vec<i64> {
    let column = column.as_primitive::<Int64Type>();
    column.iter().flatten().collect()
}

/// A measure as an aggregate function.
#[derive(Debug)]
struct MeasureUdaf {
    measure: Measure,
    signature: Signature,
    documentation: Documentation,
}

impl MeasureUdaf {
    fn new(measure: Measure) -> Self {
        let syntax = signature(&measure);
        let syntax = format!("{} [ORDER BY ...])", syntax.trim_end_matches(')'));
        let mut documentation =
            Documentation::builder(DOC_SECTION_STATISTICAL, measure.description, syntax);
        for (name, description) in measure.function.arguments() {
            documentation = documentation.with_argument(*name, *description);
        }
        for parameter in measure.parameters {
            let description = format!("a literal; the default is {}", parameter.default);
            documentation = documentation.with_argument(parameter.name, description);
        }
        Self {
            measure,
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: documentation.build(),
        }
    }

    /// The number of input columns.
    const fn width(&self) -> usize {
        self.measure.function.arguments().len()
    }
}

impl PartialEq for MeasureUdaf {
    fn eq(&self, other: &Self) -> bool {
        self.measure.name == other.measure.name
    }
}

impl Eq for MeasureUdaf {}

impl Hash for MeasureUdaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.measure.name.hash(state);
    }
}

impl AggregateUDFImpl for MeasureUdaf {
    fn name(&self) -> &str {
        self.measure.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let mut coerced = column_types(self.measure.function);
        let (min, max) = (coerced.len(), coerced.len() + self.measure.parameters.len());
        if types.len() < min || types.len() > max {
            let count = types.len();
            return plan_err!(
                "{} takes {min} to {max} arguments, not {count}",
                self.measure.name
            );
        }
        let is_list = matches!(
            types[0],
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        let takes_lists = matches!(self.measure.function, Function::Cosines(_));
        if is_list != takes_lists && types[0] != DataType::Null {
            let (name, _) = self.measure.function.arguments()[0];
            let (kind, given) = (&coerced[0], &types[0]);
            return plan_err!("{} takes {name} as {kind}, not {given}", self.measure.name);
        }
        coerced.resize(types.len(), DataType::Float64);
        Ok(coerced)
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let mut states = Vec::new();
        for column in 0..self.width() {
            let of_column = array_agg_udaf().state_fields(StateFieldsArgs {
                input_fields: &arguments.input_fields[column..=column],
                return_field: Arc::clone(&arguments.return_field),
                ..arguments
            })?;
            // State fields need unique names: add the column index.
            states.extend(of_column.into_iter().map(|field| {
                let name = format!("{}[{column}]", field.name());
                Arc::new(field.as_ref().clone().with_name(name))
            }));
        }
        Ok(states)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    /// Returns `self`: `array_agg` sorts unordered input itself.
    fn with_beneficial_ordering(
        self: Arc<Self>,
        _beneficial: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let width = self.width();
        if width > 1 && (arguments.is_distinct || arguments.ignore_nulls) {
            return plan_err!(
                "{} takes all rows: leave DISTINCT and IGNORE NULLS out",
                self.measure.name
            );
        }
        let explicit = arguments.exprs[width..].iter().zip(self.measure.parameters);
        let explicit = explicit.map(|(expression, parameter)| {
            let literal = expression.downcast_ref::<Literal>();
            let Some(ScalarValue::Float64(Some(value))) = literal.map(Literal::value) else {
                return plan_err!("{}: give its parameters as literals", self.measure.name);
            };
            match parameter.range.violated_by(*value) {
                None => Ok(*value),
                Some(bound) => {
                    let (measure, name) = (self.measure.name, parameter.name);
                    plan_err!("{measure}: {name} is {bound}, not {value}")
                }
            }
        });
        let explicit: Vec<f64> = explicit.collect::<Result<_>>()?;
        let rest = self.measure.parameters.iter().skip(explicit.len());
        let skipped = explicit.len();
        let parameters = explicit
            .into_iter()
            .chain(rest.map(|parameter| parameter.default));
        let parameters = parameters.collect();
        let gathered = (0..width).map(|column| {
            array_agg_udaf().accumulator(AccumulatorArgs {
                return_field: Arc::clone(&arguments.return_field),
                exprs: &arguments.exprs[column..=column],
                expr_fields: &arguments.expr_fields[column..=column],
                ..arguments
            })
        });
        Ok(Box::new(MeasureAccumulator {
            name: self.measure.name,
            function: self.measure.function,
            gathered: gathered.collect::<Result<_>>()?,
            skipped,
            parameters,
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The largest number of vectors in a group: the matrix of all pairs has to fit in memory.
const MAX_VECTORS: usize = 4096;

/// One `array_agg` accumulator per input column, all in the same order, and the measure of their result.
#[derive(Debug)]
struct MeasureAccumulator {
    name: &'static str,
    function: Function,
    gathered: Vec<Box<dyn Accumulator>>,
    skipped: usize,
    parameters: Vec<f64>,
}

impl Accumulator for MeasureAccumulator {
    /// `values` are the input columns, the explicit parameters (skipped here), and the `ORDER BY` keys.
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (columns, rest) = values.split_at(self.gathered.len());
        for (gathered, column) in self.gathered.iter_mut().zip(columns) {
            let ordering = rest[self.skipped..].iter();
            let inputs: Vec<ArrayRef> = [column].into_iter().chain(ordering).cloned().collect();
            gathered.update_batch(&inputs)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let each = states.len() / self.gathered.len();
        let columns = self.gathered.iter_mut().zip(states.chunks_exact(each));
        for (gathered, states) in columns {
            gathered.merge_batch(states)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = self.gathered.iter_mut().map(|gathered| gathered.state());
        Ok(states.collect::<Result<Vec<_>>>()?.concat())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut columns = Vec::with_capacity(self.gathered.len());
        for gathered in &mut self.gathered {
            let ScalarValue::List(list) = gathered.evaluate()? else {
                return Ok(ScalarValue::Float64(None));
            };
            let list: &dyn Array = list.as_ref();
            let list = list.as_list::<i32>();
            if list.len() != 1 || list.is_null(0) {
                return Ok(ScalarValue::Float64(None));
            }
            columns.push(list.value(0));
        }
        if matches!(self.function, Function::Cosines(_)) && columns[0].len() > MAX_VECTORS {
            return exec_err!(
                "{}: a group of more than {MAX_VECTORS} vectors: GROUP BY something smaller",
                self.name
            );
        }
        let measure = measure_columns(self.function, &columns, &self.parameters);
        Ok(ScalarValue::Float64(measure))
    }

    fn size(&self) -> usize {
        self.gathered.iter().map(|gathered| gathered.size()).sum()
    }
}
