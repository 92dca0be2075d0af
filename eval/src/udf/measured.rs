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
pub(super) enum Of {
    /// Texts.
    Text,
    /// Vectors, as lists of Float32.
    Vector,
    /// Classes, as whole numbers.
    Class,
}

/// Takes the measure of gathered values, with its parameters.
pub(super) type Take = fn(&ArrayRef, &[f64]) -> Option<f64>;

/// A parameter: its name, what stands for it where it is left out, and what it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) may_be: MayBe,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayBe {
    /// The length of a run of words: 1 to 64.
    Length,
    /// A number above zero.
    AboveZero,
    /// A number from one on.
    FromOne,
    /// A number from zero on, infinity too.
    FromZero,
}

impl Parameter {
    fn refuse(&self, value: f64) -> Option<&'static str> {
        let (holds, what) = match self.may_be {
            MayBe::Length => (
                value.fract() == 0.0 && (1.0..=64.0).contains(&value),
                "a whole number from 1 to 64",
            ),
            MayBe::AboveZero => (value > 0.0 && value.is_finite(), "a number above 0"),
            MayBe::FromOne => (value > 1.0 && value.is_finite(), "a number above 1"),
            MayBe::FromZero => (value >= 0.0, "a number from 0 on"),
        };
        (!holds).then_some(what)
    }
}

/// A measure as an aggregate function.
#[derive(Debug)]
pub(super) struct Measured {
    name: &'static str,
    of: Of,
    parameters: &'static [Parameter],
    take: Take,
    signature: Signature,
    documentation: Documentation,
}

impl Measured {
    /// An aggregate by name; the parameters come with what stands for them where they are left out.
    pub(super) fn new(
        name: &'static str,
        of: Of,
        about: &str,
        parameters: &'static [Parameter],
        take: Take,
    ) -> Self {
        let argument = match of {
            Of::Text => "text",
            Of::Vector => "embedding",
            Of::Class => "class",
        };
        let optional: String = parameters
            .iter()
            .map(|parameter| format!("[, {}]", parameter.name))
            .collect();
        let syntax = format!("{name}({argument}{optional} [ORDER BY ...])");
        let mut documentation = Documentation::builder(DOC_SECTION_STATISTICAL, about, syntax)
            .with_argument(
                argument,
                match of {
                    Of::Text => "the texts of a group",
                    Of::Vector => "the vectors of a group, all of one length",
                    Of::Class => "the class of each row",
                },
            );
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

    fn gathered(&self) -> DataType {
        match self.of {
            Of::Text => DataType::Utf8,
            Of::Class => DataType::Int64,
            Of::Vector => DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true))),
        }
    }
}

impl PartialEq for Measured {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Measured {}

impl Hash for Measured {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Measured {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let most = 1 + self.parameters.len();
        if types.is_empty() || types.len() > most {
            return plan_err!(
                "{} takes 1 to {most} arguments, not {}",
                self.name,
                types.len()
            );
        }
        let is_list = matches!(
            types[0],
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        if is_list != (self.of == Of::Vector) && types[0] != DataType::Null {
            return plan_err!("{} takes {:?}s, not {}", self.name, self.of, types[0]);
        }
        let mut coerced = vec![self.gathered()];
        coerced.resize(types.len(), DataType::Float64);
        Ok(coerced)
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, mut arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        arguments.input_fields = &arguments.input_fields[..1];
        array_agg_udaf().state_fields(arguments)
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

    fn accumulator(&self, mut arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let given = arguments.exprs[1..].iter().zip(self.parameters);
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
        arguments.exprs = &arguments.exprs[..1];
        arguments.expr_fields = &arguments.expr_fields[..1];
        Ok(Box::new(Gathering {
            name: self.name,
            of: self.of,
            gathered: array_agg_udaf().accumulator(arguments)?,
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

/// What `array_agg` gathers, and what is done with it in the end.
#[derive(Debug)]
struct Gathering {
    name: &'static str,
    of: Of,
    gathered: Box<dyn Accumulator>,
    skipped: usize,
    parameters: Vec<f64>,
    take: Take,
}

impl Accumulator for Gathering {
    /// The values, the parameters, and what they are ordered by.
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let ordering = values[1 + self.skipped..].iter();
        let kept: Vec<ArrayRef> = values[..1].iter().chain(ordering).cloned().collect();
        self.gathered.update_batch(&kept)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.gathered.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.gathered.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let ScalarValue::List(list) = self.gathered.evaluate()? else {
            return Ok(ScalarValue::Float64(None));
        };
        let list: &dyn Array = list.as_ref();
        let list = list.as_list::<i32>();
        let values = (list.len() == 1 && list.is_valid(0)).then(|| list.value(0));
        if self.of == Of::Vector
            && values
                .as_ref()
                .is_some_and(|values| values.len() > MOST_VECTORS)
        {
            return exec_err!(
                "{}: a group of more than {MOST_VECTORS} vectors: GROUP BY something smaller",
                self.name
            );
        }
        let measure = values.and_then(|values| (self.take)(&values, &self.parameters));
        Ok(ScalarValue::Float64(measure))
    }

    fn size(&self) -> usize {
        self.gathered.size()
    }
}
