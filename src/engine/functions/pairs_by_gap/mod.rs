//! `pairs_by_gap(response_id, score, gap, seed)`: SQL aggregate that samples preference pairs of a
//! prompt.

pub mod sampling;

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, StringArray, StructArray};
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

static DOCUMENTATION: LazyLock<Documentation> =
    LazyLock::new(|| {
        Documentation::builder(
        DOC_SECTION_GENERAL,
        "Random pairs of responses whose votes differ by at least `gap`, each response once; when \
         none is left, pairs that differ at all. The same rows and seed give the same pairs, in \
         whatever order they come. A list of {chosen, rejected}.",
        "pairs_by_gap(response_id, score, gap, seed)",
    )
    .with_argument("response_id", "the response")
    .with_argument("score", "its votes; rows without votes are left out")
    .with_argument("gap", "the least difference of votes, the same in every row")
    .with_argument("seed", "the seed, the same in every row")
    .build()
    });

const NAME: &str = "pairs_by_gap";

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PairsByGap {
    signature: Signature,
}

impl Default for PairsByGap {
    fn default() -> Self {
        Self {
            signature: Signature::exact(
                vec![
                    DataType::Utf8,
                    DataType::Float64,
                    DataType::Float64,
                    DataType::Int64,
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
    ])
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl AggregateUDFImpl for PairsByGap {
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
            field("gap", DataType::Float64),
            field("seed", DataType::Int64),
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
    rows: Vec<(String, f64)>,
    gap: Constant,
    seed: Constant,
}

impl Accumulator for PairsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let ids = values[0].as_string::<i32>();
        let scores = values[1].as_primitive::<Float64Type>();
        let present = ids
            .iter()
            .zip(scores)
            .filter_map(|(id, score)| Some((id?.to_owned(), score?)));
        self.rows.extend(present);
        self.gap.update(NAME, "gap", &values[2])?;
        self.seed.update(NAME, "seed", &values[3])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (ids, scores) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in 0..ids.len() {
            if ids.is_null(row) {
                continue;
            }
            let (ids, scores) = (ids.value(row), scores.value(row));
            // A state of no rows has no constants.
            let constants = [2, 3].map(|column| {
                let rows = usize::from(states[column].is_valid(row));
                states[column].slice(row, rows)
            });
            let [gap, seed] = constants;
            self.update_batch(&[ids, scores, gap, seed])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let ids: StringArray = self.rows.iter().map(|(id, _)| Some(id)).collect();
        let scores: Float64Array = self.rows.iter().map(|(_, score)| Some(*score)).collect();
        Ok(vec![
            ScalarValue::List(Arc::new(one_list(Arc::new(ids)))),
            ScalarValue::List(Arc::new(one_list(Arc::new(scores)))),
            self.gap.value(ScalarValue::Float64(None)),
            self.seed.value(ScalarValue::Int64(None)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (ScalarValue::Float64(gap), ScalarValue::Int64(seed)) = (
            self.gap.value(ScalarValue::Float64(None)),
            self.seed.value(ScalarValue::Int64(None)),
        ) else {
            return exec_err!("{NAME}: gap and seed are numbers");
        };
        let (gap, seed) = (gap.unwrap_or_default(), seed.unwrap_or_default());
        let pairs = sampling::pairs(&self.rows, gap, seed);
        let name = |row: usize| Some(self.rows[row].0.as_str());
        let chosen: StringArray = pairs.iter().map(|(chosen, _)| name(*chosen)).collect();
        let rejected: StringArray = pairs.iter().map(|(_, rejected)| name(*rejected)).collect();
        let pairs = StructArray::try_new(
            pair_fields(),
            vec![Arc::new(chosen), Arc::new(rejected)],
            None,
        )?;
        Ok(ScalarValue::List(Arc::new(one_list(Arc::new(pairs)))))
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self
                .rows
                .iter()
                .map(|(id, _)| id.capacity() + 32)
                .sum::<usize>()
    }
}

/// A list array with one row that contains all values.
fn one_list(values: ArrayRef) -> ListArray {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    ListArray::new(field, offsets, values, None)
}
