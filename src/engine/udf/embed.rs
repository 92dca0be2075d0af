//! `embed(text, model)`: which vector has a text?

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility, scalar_doc_sections::DOC_SECTION_ARRAY,
};
use datafusion::scalar::ScalarValue;

use crate::embed::Embedder;
use crate::schema;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_ARRAY,
        "The vector of a text, of length 1 (zeros for a text without content), NULL for NULL. \
         Models: builtin:words (1,024 values), builtin:style (768 values).",
        "embed(text, model)",
    )
    .with_argument("text", "the text")
    .with_argument("model", "the model's name, a literal")
    .build()
});

/// The scalar function. Its field's metadata says which model and revision made the vectors.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Embed {
    signature: Signature,
}

impl Default for Embed {
    fn default() -> Self {
        Self {
            // Volatile: the optimizer must not copy an expensive call into a filter.
            signature: Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Volatile),
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
        let Some(Some(ScalarValue::Utf8(Some(model)))) = arguments.scalar_arguments.get(1) else {
            return plan_err!("embed needs to know its model: give its name as a literal");
        };
        let embedder = Embedder::named(model)?;
        let metadata = HashMap::from([
            ("model".to_owned(), embedder.name().to_owned()),
            ("revision".to_owned(), embedder.revision().to_owned()),
        ]);
        let field = Field::new(
            self.name(),
            schema::vector(embedder.dimension() as i32),
            true,
        );
        Ok(Arc::new(field.with_metadata(metadata)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, ColumnarValue::Scalar(ScalarValue::Utf8(Some(model)))] =
            arguments.args.as_slice()
        else {
            return exec_err!("embed needs to know its model: give its name as a literal");
        };
        let embedder = Embedder::named(model)?;
        let texts = cast(&texts.to_array(arguments.number_rows)?, &DataType::Utf8)?;
        Ok(ColumnarValue::Array(embed_column(&texts, embedder)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The vectors of a column of texts.
///
/// # Errors
/// When Arrow refuses the column, which would be a fault of this file.
pub fn embed_column(texts: &ArrayRef, embedder: Embedder) -> Result<ArrayRef> {
    let texts = texts.as_string::<i32>();
    let present: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
    let values = Float32Array::from(embedder.embed(&present));
    let DataType::FixedSizeList(item, dimension) = schema::vector(embedder.dimension() as i32)
    else {
        return exec_err!("a vector is a FixedSizeList");
    };
    let nulls: Option<NullBuffer> = texts.nulls().cloned();
    Ok(Arc::new(FixedSizeListArray::try_new(
        item,
        dimension,
        Arc::new(values),
        nulls,
    )?))
}
