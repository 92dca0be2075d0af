//! `embed(text, model)`: SQL function that returns the embedding vector of a text.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    TypeSignature, Volatility, scalar_doc_sections::DOC_SECTION_ARRAY,
};
use datafusion::scalar::ScalarValue;

use crate::embed::Embedder;
use crate::schema;
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::text_tokenizer::LongTexts;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ARRAY,
        "The vector of a text, NULL for NULL. Models: builtin:words (1,024 values) and builtin:style \
         (768 values), whose vectors have length 1 (zeros for a text without content); a folder or a \
         hub id OWNER/NAME[@REVISION][#TASK] of a sentence-transformers model.",
        "embed(text, model[, device[, long_texts]])",
    )
    .with_argument("text", "the text")
    .with_argument("model", "the model's name, a literal")
    .with_argument("device", "cpu (the default) or cuda:0, a literal")
    .with_argument(
        "long_texts",
        "texts of more tokens than the model reads: truncate (the default) or mean (the vectors of all windows \
         of that length, averaged by their tokens), a literal",
    )
    .build()
});

/// The scalar function. Its return field's metadata names the model and revision.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Embed {
    signature: Signature,
}

impl Default for Embed {
    fn default() -> Self {
        Self {
            // Volatile: the optimizer must not copy an expensive call into a filter.
            signature: Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Utf8; 2]),
                    TypeSignature::Exact(vec![DataType::Utf8; 3]),
                    TypeSignature::Exact(vec![DataType::Utf8; 4]),
                ],
                Volatility::Volatile,
            ),
        }
    }
}

impl ScalarUDFImpl for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        plan_err!("embed needs to know its model: give its name as a literal")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let embedder = embedder(arguments.scalar_arguments.get(1..).unwrap_or_default())?;
        let field = Field::new(
            self.name(),
            schema::vector(embedder.dimension() as i32),
            true,
        );
        Ok(Arc::new(field.with_metadata(embedder.metadata())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((texts, literals)) = arguments.args.split_first() else {
            return exec_err!("embed needs a text");
        };
        let literals: Vec<Option<&ScalarValue>> = literals
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let embedder = embedder(&literals)?;
        let texts = cast(&texts.to_array(arguments.number_rows)?, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        // Only non-null texts go to the model; a null text has a null vector.
        let present: Vec<String> = texts.iter().flatten().map(str::to_owned).collect();
        let values = embedder.embed_batched(present)?;
        let vectors = column(&values, embedder.dimension(), texts)?;
        Ok(ColumnarValue::Array(vectors))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The embedder that the literal arguments after the text name: model, and optionally device and treatment of long
/// texts.
fn embedder(literals: &[Option<&ScalarValue>]) -> Result<Embedder> {
    let text = |at: usize, what: &str| match literals.get(at) {
        None => Ok(None),
        Some(Some(ScalarValue::Utf8(Some(text)))) => Ok(Some(text.as_str())),
        Some(_) => plan_err!("embed needs to know its {what}: give its name as a literal"),
    };
    let Some(model) = text(0, "model")? else {
        return plan_err!("embed needs to know its model: give its name as a literal");
    };
    let device = text(1, "device")?;
    let device = device.map_or(Ok(DeviceSpec::Cpu), DeviceSpec::parse)?;
    let long_texts = text(2, "treatment of long texts")?;
    let long_texts = long_texts.map_or(Ok(LongTexts::default()), LongTexts::named)?;
    Ok(Embedder::named(model, &[device], long_texts)?)
}

/// The vectors of the non-null texts, concatenated, as an Arrow column with NULL for null texts.
///
/// # Errors
/// When the number of values is not the number of non-null texts times the dimension.
pub fn column(given: &[f32], dimension: usize, texts: &StringArray) -> Result<ArrayRef> {
    let mut rows = given.chunks_exact(dimension);
    let mut vectors = Vec::with_capacity(texts.len() * dimension);
    for text in texts {
        match text.and_then(|_| rows.next()) {
            Some(row) => vectors.extend_from_slice(row),
            None => vectors.resize(vectors.len() + dimension, 0.0),
        }
    }
    let nulls = texts.nulls().cloned();
    let DataType::FixedSizeList(item, length) = schema::vector(dimension as i32) else {
        return exec_err!("a vector is a FixedSizeList");
    };
    let values = Arc::new(Float32Array::from(vectors));
    Ok(Arc::new(FixedSizeListArray::try_new(
        item, length, values, nulls,
    )?))
}
