//! `log_odds(text, is_model, prompt_id)`: SQL aggregate of the words and phrases of a model's texts and of people's,
//! each tested (see [`crate::compare::overused_terms`]).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, LargeStringArray, ListArray,
    StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use polyphony_engine::datafusion::common::plan_err;
use polyphony_engine::datafusion::error::Result;
use polyphony_engine::datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use polyphony_engine::datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
    aggregate_doc_sections::DOC_SECTION_STATISTICAL,
};
use polyphony_engine::datafusion::physical_expr::expressions::Literal;
use polyphony_engine::datafusion::scalar::ScalarValue;
use rayon::prelude::*;

use crate::compare::terms::{MIN_PROMPTS, Term, by_lower_end, test_terms};
use crate::text::frequent_ngrams::Groups;
use crate::text::sentences::{Sentences, Vocabulary, ids};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_STATISTICAL,
        "Words and phrases of two and three words, compared between a model's texts and people's texts to the same \
         prompts: the log-odds ratio with an informative Dirichlet prior and its z, the rate ratio with its 95 % \
         confidence interval over prompts, and the one-sided p-value of the exchange test over prompts, also after \
         Benjamini and Hochberg's correction for all tested terms. A list of structs, in descending order of the \
         lower end of the interval. Prompts with texts of one side alone, and rows with a NULL, are left out.",
        "log_odds(text, is_model, prompt_id[, min_prompts])",
    )
    .with_argument("text", "the text")
    .with_argument("is_model", "whether the model wrote it, or people did")
    .with_argument("prompt_id", "the prompt of the text")
    .with_argument(
        "min_prompts",
        "a literal: the number of prompts where a term must occur, on either side, to be tested; the default is 10",
    )
    .build()
});

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LogOdds {
    signature: Signature,
}

impl Default for LogOdds {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

/// The fields of a term, in order.
fn term_fields() -> Fields {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Fields::from(vec![
        field("term", DataType::Utf8),
        field("n", DataType::Int64),
        field("model_count", DataType::Int64),
        field("people_count", DataType::Int64),
        field("model_prompts", DataType::Int64),
        field("people_prompts", DataType::Int64),
        field("model_rate", DataType::Float64),
        field("people_rate", DataType::Float64),
        field("log_odds", DataType::Float64),
        field("z", DataType::Float64),
        field("rate_ratio", DataType::Float64),
        field("ci_low", DataType::Float64),
        field("ci_high", DataType::Float64),
        field("p", DataType::Float64),
        field("p_bh", DataType::Float64),
    ])
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl AggregateUDFImpl for LogOdds {
    fn name(&self) -> &'static str {
        "log_odds"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() < 3 || types.len() > 4 {
            return plan_err!("log_odds takes 3 to 4 arguments, not {}", types.len());
        }
        if !matches!(types[1], DataType::Boolean | DataType::Null) {
            return plan_err!("log_odds takes is_model as Boolean, not {}", types[1]);
        }
        let coerced = [
            DataType::Utf8,
            DataType::Boolean,
            DataType::Utf8,
            DataType::Int64,
        ];
        Ok(coerced[..types.len()].to_vec())
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Struct(term_fields())))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| {
            let name = format!("{}[{name}]", arguments.name);
            Arc::new(Field::new(name, list_of(data_type), true))
        };
        Ok(vec![
            // Large: the texts of a group may exceed the 2 GiB of the offsets of Utf8.
            field("text", DataType::LargeUtf8),
            field("is_model", DataType::Boolean),
            field("prompt_id", DataType::Utf8),
        ])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if arguments.is_distinct {
            return plan_err!("log_odds takes all rows: leave DISTINCT out");
        }
        let min_prompts = match arguments.exprs.get(3) {
            None => MIN_PROMPTS as i64,
            Some(expression) => {
                let literal = expression.downcast_ref::<Literal>();
                let Some(ScalarValue::Int64(Some(value))) = literal.map(Literal::value) else {
                    return plan_err!("log_odds: give min_prompts as a literal");
                };
                if *value < 1 {
                    return plan_err!("log_odds: min_prompts is at least 1, not {value}");
                }
                *value
            }
        };
        Ok(Box::new(LogOddsAccumulator {
            rows: Vec::new(),
            bytes: 0,
            min_prompts: min_prompts as usize,
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The accumulator: the texts of a group.
#[derive(Debug)]
struct LogOddsAccumulator {
    /// By row the prompt, whether people wrote the text, and the text.
    rows: Vec<(String, bool, String)>,
    /// The bytes of all strings.
    bytes: usize,
    min_prompts: usize,
}

impl LogOddsAccumulator {
    fn push(&mut self, text: Option<&str>, is_model: Option<bool>, prompt: Option<&str>) {
        if let (Some(text), Some(is_model), Some(prompt)) = (text, is_model, prompt) {
            self.bytes += text.len() + prompt.len();
            let row = (prompt.to_owned(), !is_model, text.to_owned());
            self.rows.push(row);
        }
    }

    /// The terms of all rows; the order of the rows makes no difference.
    fn terms(&mut self) -> Vec<Term> {
        self.rows.sort_unstable();
        let mut vocabulary = Vocabulary::default();
        let mut prompts: BTreeMap<&str, [Vec<Sentences>; 2]> = BTreeMap::new();
        for (prompt, is_people, text) in &self.rows {
            let sides = prompts.entry(prompt).or_default();
            sides[usize::from(*is_people)].push(vocabulary.split(text));
        }
        let both = prompts
            .values()
            .filter(|sides| sides.iter().all(|texts| !texts.is_empty()));
        let groups = both.map(|sides| sides.each_ref().map(|texts| ids(texts)));
        let groups: Vec<Groups<'_>> = groups.collect();
        let tested = test_terms(&groups, self.min_prompts);
        let terms = tested.par_iter().map(|term| term.term(&vocabulary));
        let mut terms: Vec<Term> = terms.collect();
        terms.sort_by(by_lower_end);
        terms
    }
}

impl Accumulator for LogOddsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (texts, prompts) = (values[0].as_string::<i32>(), values[2].as_string::<i32>());
        let rows = texts.iter().zip(values[1].as_boolean()).zip(prompts);
        for ((text, is_model), prompt) in rows {
            self.push(text, is_model, prompt);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [texts, sides, prompts] = [0, 1, 2].map(|at| states[at].as_list::<i32>());
        let lists = texts.iter().zip(sides.iter()).zip(prompts.iter());
        for ((texts, sides), prompts) in lists {
            let (Some(texts), Some(sides), Some(prompts)) = (texts, sides, prompts) else {
                continue;
            };
            let rows = texts.as_string::<i64>().iter().zip(sides.as_boolean());
            for ((text, is_model), prompt) in rows.zip(prompts.as_string::<i32>()) {
                self.push(text, is_model, prompt);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let rows = self.rows.iter();
        let texts: LargeStringArray = rows.clone().map(|(_, _, text)| Some(text)).collect();
        let sides: BooleanArray = rows.clone().map(|(_, people, _)| Some(!people)).collect();
        let prompts: StringArray = rows.map(|(prompt, _, _)| Some(prompt)).collect();
        let columns: [ArrayRef; 3] = [Arc::new(texts), Arc::new(sides), Arc::new(prompts)];
        let lists = columns.map(|column| ScalarValue::List(Arc::new(one_list(column))));
        Ok(lists.into())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let terms = self.terms();
        let integers = |value: &dyn Fn(&Term) -> usize| -> ArrayRef {
            let values = terms.iter().map(|term| value(term) as i64);
            Arc::new(Int64Array::from_iter_values(values))
        };
        let numbers = |value: &dyn Fn(&Term) -> Option<f64>| -> ArrayRef {
            Arc::new(terms.iter().map(value).collect::<Float64Array>())
        };
        let names: StringArray = terms.iter().map(|term| Some(&*term.term)).collect();
        let columns = vec![
            Arc::new(names) as ArrayRef,
            integers(&|term| term.n),
            integers(&|term| term.model_count as usize),
            integers(&|term| term.people_count as usize),
            integers(&|term| term.model_prompts),
            integers(&|term| term.people_prompts),
            numbers(&|term| Some(term.model_rate)),
            numbers(&|term| Some(term.people_rate)),
            numbers(&|term| Some(term.log_odds)),
            numbers(&|term| Some(term.z)),
            numbers(&|term| term.rate_ratio),
            numbers(&|term| Some(term.ci_low)),
            numbers(&|term| term.ci_high),
            numbers(&|term| Some(term.p)),
            numbers(&|term| Some(term.p_bh)),
        ];
        let terms = StructArray::try_new(term_fields(), columns, None)?;
        Ok(ScalarValue::List(Arc::new(one_list(Arc::new(terms)))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes + self.rows.capacity() * size_of::<(String, bool, String)>()
    }
}

/// A list array with one row that contains all values.
fn one_list(values: ArrayRef) -> ListArray {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    ListArray::new(field, offsets, values, None)
}
