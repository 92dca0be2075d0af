//! `pairs_by_diversity(response_id, score, diversity, epsilon, n_cap, top_quantile)`: SQL aggregate that
//! selects preference pairs of similar score by diversity.

pub mod selection;

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
    aggregate_doc_sections::DOC_SECTION_GENERAL,
};
use datafusion::scalar::ScalarValue;

use super::constant::Constant;

use self::selection::{Scored, Thresholds};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_GENERAL,
        "Pairs of responses whose scores differ by at most `epsilon`: the one of greater diversity is \
         chosen (ReDiPO). The largest differences of diversity come first, each response in at most \
         `n_cap` pairs; of these pairs the fraction `top_quantile` remains. A list of {chosen, rejected, \
         rank}, the same in whatever order the rows come.",
        "pairs_by_diversity(response_id, score, diversity, epsilon, n_cap, top_quantile)",
    )
    .with_argument("response_id", "the response")
    .with_argument("score", "its score; rows without score or diversity are left out")
    .with_argument("diversity", "its marginal diversity, as nearest_distance()")
    .with_argument("epsilon", "the maximum difference of scores, the same in every row")
    .with_argument("n_cap", "the maximum number of pairs of a response, the same in every row")
    .with_argument("top_quantile", "the fraction of pairs that remain, the same in every row")
    .build()
});

const NAME: &str = "pairs_by_diversity";

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PairsByDiversity {
    signature: Signature,
}

impl Default for PairsByDiversity {
    fn default() -> Self {
        Self {
            signature: Signature::exact(
                vec![
                    DataType::Utf8,
                    DataType::Float64,
                    DataType::Float64,
                    DataType::Float64,
                    DataType::Int64,
                    DataType::Float64,
                ],
                Volatility::Immutable,
            ),
        }
    }
}

fn pair_fields() -> Fields {
    Fields::from(vec![
        Field::new("chosen", DataType::Utf8, true),
        Field::new("rejected", DataType::Utf8, true),
        Field::new("rank", DataType::Int64, true),
    ])
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl AggregateUDFImpl for PairsByDiversity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Struct(pair_fields())))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| {
            Arc::new(Field::new(
                format!("{}[{name}]", arguments.name),
                data_type,
                true,
            ))
        };
        Ok(vec![
            field("ids", list_of(DataType::Utf8)),
            field("scores", list_of(DataType::Float64)),
            field("diversities", list_of(DataType::Float64)),
            field("epsilon", DataType::Float64),
            field("n_cap", DataType::Int64),
            field("top_quantile", DataType::Float64),
        ])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::<PairsAccumulator>::default())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The accumulator: the responses of one prompt.
#[derive(Debug, Default)]
struct PairsAccumulator {
    rows: Vec<(String, Scored)>,
    epsilon: Constant,
    n_cap: Constant,
    top_quantile: Constant,
}

impl Accumulator for PairsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let ids = values[0].as_string::<i32>();
        let scores = values[1].as_primitive::<Float64Type>();
        let diversities = values[2].as_primitive::<Float64Type>();
        let rows = ids.iter().zip(scores).zip(diversities);
        self.rows
            .extend(rows.filter_map(|((id, score), diversity)| {
                let scored = Scored {
                    score: score?,
                    diversity: diversity?,
                };
                Some((id?.to_owned(), scored))
            }));
        self.epsilon.update(NAME, "epsilon", &values[3])?;
        self.n_cap.update(NAME, "n_cap", &values[4])?;
        self.top_quantile.update(NAME, "top_quantile", &values[5])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            if states[0].is_null(row) {
                continue;
            }
            let list = |column: usize| states[column].as_list::<i32>().value(row);
            // A state of no rows has no constants.
            let constant = |column: usize| {
                let rows = usize::from(states[column].is_valid(row));
                states[column].slice(row, rows)
            };
            self.update_batch(&[
                list(0),
                list(1),
                list(2),
                constant(3),
                constant(4),
                constant(5),
            ])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let ids: StringArray = self.rows.iter().map(|(id, _)| Some(id)).collect();
        let numbers = |value: fn(&Scored) -> f64| -> ScalarValue {
            let values: Float64Array = self.rows.iter().map(|(_, row)| Some(value(row))).collect();
            ScalarValue::List(Arc::new(one_list(Arc::new(values))))
        };
        Ok(vec![
            ScalarValue::List(Arc::new(one_list(Arc::new(ids)))),
            numbers(|row| row.score),
            numbers(|row| row.diversity),
            self.epsilon.value(ScalarValue::Float64(None)),
            self.n_cap.value(ScalarValue::Int64(None)),
            self.top_quantile.value(ScalarValue::Float64(None)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Ids are distinct, so the order of the rows does not matter.
        self.rows.sort_by(|a, b| a.0.cmp(&b.0));
        let scored: Vec<Scored> = self.rows.iter().map(|(_, scored)| *scored).collect();
        let number = |constant: &Constant| match constant.value(ScalarValue::Float64(None)) {
            ScalarValue::Float64(number) => number.unwrap_or_default(),
            _ => 0.0,
        };
        let ScalarValue::Int64(n_cap) = self.n_cap.value(ScalarValue::Int64(None)) else {
            return exec_err!("{NAME}: n_cap is an integer");
        };
        let thresholds = Thresholds {
            epsilon: number(&self.epsilon),
            n_cap: usize::try_from(n_cap.unwrap_or_default()).unwrap_or(0),
            top_quantile: number(&self.top_quantile),
        };
        let pairs = selection::pairs(&scored, thresholds);
        let name = |row: usize| Some(self.rows[row].0.as_str());
        let chosen: StringArray = pairs.iter().map(|(chosen, _)| name(*chosen)).collect();
        let rejected: StringArray = pairs.iter().map(|(_, rejected)| name(*rejected)).collect();
        let ranks: Int64Array = (1..).take(pairs.len()).map(Some).collect();
        let pairs = StructArray::try_new(
            pair_fields(),
            vec![Arc::new(chosen), Arc::new(rejected), Arc::new(ranks)],
            None,
        )?;
        Ok(ScalarValue::List(Arc::new(one_list(Arc::new(pairs)))))
    }

    fn size(&self) -> usize {
        let row = |(id, _): &(String, Scored)| id.capacity() + size_of::<(String, Scored)>();
        size_of_val(self) + self.rows.iter().map(row).sum::<usize>()
    }
}

/// A list array with one row that contains all values.
fn one_list(values: ArrayRef) -> ListArray {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    ListArray::new(field, offsets, values, None)
}
