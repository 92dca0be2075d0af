//! `token_count(text, tokenizer)`: SQL function that returns the number of tokens of a text.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
    scalar_doc_sections::DOC_SECTION_STRING,
};
use datafusion::scalar::ScalarValue;

use polyphony_model::tokenizer;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_STRING,
        "How many tokens a tokenizer makes of a text, special tokens included; NULL for NULL.",
        "token_count(text, tokenizer)",
    )
    .with_argument("text", "the text")
    .with_argument(
        "tokenizer",
        "a tokenizer.json, a folder that holds one, or a hub id; a literal",
    )
    .build()
});

/// The scalar function. Tokenizers are cached for the life of the process.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TokenCount {
    signature: Signature,
}

impl Default for TokenCount {
    fn default() -> Self {
        Self {
            signature: Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for TokenCount {
    fn name(&self) -> &'static str {
        "token_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, ColumnarValue::Scalar(ScalarValue::Utf8(Some(name)))] =
            arguments.args.as_slice()
        else {
            return exec_err!("token_count needs to know its tokenizer: give it as a literal");
        };
        let cached = tokenizer::load_cached(name)?;
        let texts = cast(&texts.to_array(arguments.number_rows)?, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let present: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
        let counts = tokenizer::count_tokens(&cached.tokenizer, &present)?;
        let counts = Int64Array::new(counts.into(), texts.nulls().cloned());
        Ok(ColumnarValue::Array(Arc::new(counts)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
