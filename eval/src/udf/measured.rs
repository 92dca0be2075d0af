//! How does a measure become an aggregate? `array_agg` gathers, the measure is taken at the end.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use polyphony_engine::datafusion::common::{exec_err, plan_err};
use polyphony_engine::datafusion::error::Result;
use polyphony_engine::datafusion::functions_aggregate::array_agg::array_agg_udaf;
use polyphony_engine::datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use polyphony_engine::datafusion::logical_expr::utils::AggregateOrderSensitivity;
use polyphony_engine::datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
    aggregate_doc_sections::DOC_SECTION_STATISTICAL,
};
use polyphony_engine::datafusion::physical_expr::expressions::Literal;
use polyphony_engine::datafusion::scalar::ScalarValue;

/// What is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputKind {
    /// Texts.
    Text,
    /// Vectors, as lists of Float32.
    Vector,
    /// Classes, as whole numbers.
    Class,
    /// Classes, and what each row is worth to a reader.
    ClassAndUtility,
}

impl InputKind {
    /// The columns that are gathered: what they are called, hold, and mean.
    fn columns(self) -> Vec<(&'static str, DataType, &'static str)> {
        let class = ("class", DataType::Int64, "the class of each row");
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
        match self {
            Self::Text => vec![("text", DataType::Utf8, "the texts of a group")],
            Self::Vector => {
                let about = "the vectors of a group, all of one length";
                vec![("embedding", list, about)]
            }
            Self::Class => vec![class],
            Self::ClassAndUtility => {
                let about = "what each row is worth, as 1 to 10";
                vec![class, ("utility", DataType::Float64, about)]
            }
        }
    }
}

/// Takes the measure of gathered columns, with its parameters.
pub(super) type MeasureFn = fn(&[ArrayRef], &[f64]) -> Option<f64>;

/// A parameter: its name, what stands for it where it is left out, and what it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) may_be: ParamRange,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParamRange {
    /// The length of a run of words: 1 to 64.
    Length,
    /// A number above zero.
    AboveZero,
    /// A number from one on.
    FromOne,
    /// A number from zero on, infinity too.
    FromZero,
    /// A number from zero on, below one.
    BelowOne,
}

impl Parameter {
    fn refuse(&self, value: f64) -> Option<&'static str> {
        let (holds, what) = match self.may_be {
            ParamRange::Length => (
                value.fract() == 0.0 && (1.0..=64.0).contains(&value),
                "a whole number from 1 to 64",
            ),
            ParamRange::AboveZero => (value > 0.0 && value.is_finite(), "a number above 0"),
            ParamRange::FromOne => (value > 1.0 && value.is_finite(), "a number above 1"),
            ParamRange::FromZero => (value >= 0.0, "a number from 0 on"),
            ParamRange::BelowOne => ((0.0..1.0).contains(&value), "a number from 0 on, below 1"),
        };
        (!holds).then_some(what)
    }
}

/// A measure as an aggregate function.
#[derive(Debug)]
pub(super) struct MeasureUdaf {
    name: &'static str,
    of: InputKind,
    parameters: &'static [Parameter],
    take: MeasureFn,
    signature: Signature,
    documentation: Documentation,
}

impl MeasureUdaf {
    /// An aggregate by name; the parameters come with what stands for them where they are left out.
    pub(super) fn new(
        name: &'static str,
        of: InputKind,
        about: &str,
        parameters: &'static [Parameter],
        take: MeasureFn,
    ) -> Self {
        let columns = of.columns();
        let names: Vec<&str> = columns.iter().map(|(name, _, _)| *name).collect();
        let optional: String = parameters
            .iter()
            .map(|parameter| format!("[, {}]", parameter.name))
            .collect();
        let syntax = format!("{name}({}{optional} [ORDER BY ...])", names.join(", "));
        let mut documentation = Documentation::builder(DOC_SECTION_STATISTICAL, about, syntax);
        for (name, _, about) in columns {
            documentation = documentation.with_argument(name, about);
        }
        for parameter in parameters {
            let about = format!("a literal; {} where it is left out", parameter.value);
            documentation = documentation.with_argument(parameter.name, about);
        }
        Self {
            name,
            of,
            parameters,
            take,
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: documentation.build(),
        }
    }

    /// How many columns are gathered.
    fn width(&self) -> usize {
        self.of.columns().len()
    }
}

impl PartialEq for MeasureUdaf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for MeasureUdaf {}

impl Hash for MeasureUdaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for MeasureUdaf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let columns = self.of.columns();
        let (least, most) = (columns.len(), columns.len() + self.parameters.len());
        if types.len() < least || types.len() > most {
            let count = types.len();
            return plan_err!(
                "{} takes {least} to {most} arguments, not {count}",
                self.name
            );
        }
        let is_list = matches!(
            types[0],
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        if is_list != (self.of == InputKind::Vector) && types[0] != DataType::Null {
            let (name, kind, _) = &columns[0];
            return plan_err!("{} takes {name} as {kind}, not {}", self.name, types[0]);
        }
        let mut coerced: Vec<DataType> = columns.into_iter().map(|(_, kind, _)| kind).collect();
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
            // Two columns' states have names of their own.
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

    /// `array_agg` sorts by itself what comes in no order.
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
                self.name
            );
        }
        let given = arguments.exprs[width..].iter().zip(self.parameters);
        let given = given.map(|(expression, parameter)| {
            let literal = expression.downcast_ref::<Literal>();
            let Some(ScalarValue::Float64(Some(value))) = literal.map(Literal::value) else {
                return plan_err!("{}: give its parameters as literals", self.name);
            };
            match parameter.refuse(*value) {
                None => Ok(*value),
                Some(what) => plan_err!("{}: {} is {what}, not {value}", self.name, parameter.name),
            }
        });
        let given: Vec<f64> = given.collect::<Result<_>>()?;
        let rest = self.parameters.iter().skip(given.len());
        let skipped = given.len();
        let parameters = given
            .into_iter()
            .chain(rest.map(|parameter| parameter.value));
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
            name: self.name,
            of: self.of,
            gathered: gathered.collect::<Result<_>>()?,
            skipped,
            parameters,
            take: self.take,
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// All pairs of a group are looked at: above this many their matrix no longer fits in memory.
const MOST_VECTORS: usize = 4096;

/// What `array_agg` gathers of each column, all in one order, and what is done with it in the end.
#[derive(Debug)]
struct MeasureAccumulator {
    name: &'static str,
    of: InputKind,
    gathered: Vec<Box<dyn Accumulator>>,
    skipped: usize,
    parameters: Vec<f64>,
    take: MeasureFn,
}

impl Accumulator for MeasureAccumulator {
    /// The columns, the parameters, and what they are ordered by.
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (columns, rest) = values.split_at(self.gathered.len());
        for (gathered, column) in self.gathered.iter_mut().zip(columns) {
            let ordering = rest[self.skipped..].iter();
            let kept: Vec<ArrayRef> = [column].into_iter().chain(ordering).cloned().collect();
            gathered.update_batch(&kept)?;
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
        if self.of == InputKind::Vector && columns[0].len() > MOST_VECTORS {
            return exec_err!(
                "{}: a group of more than {MOST_VECTORS} vectors: GROUP BY something smaller",
                self.name
            );
        }
        let measure = (self.take)(&columns, &self.parameters);
        Ok(ScalarValue::Float64(measure))
    }

    fn size(&self) -> usize {
        self.gathered.iter().map(|gathered| gathered.size()).sum()
    }
}
