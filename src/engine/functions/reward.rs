//! `reward(prompt, response, model)`: SQL function that returns a reward model's score of a response.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Float32Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature,
    Volatility, scalar_doc_sections::DOC_SECTION_OTHER,
};
use datafusion::scalar::ScalarValue;

use polyphony_model::device::DeviceSpec;
use polyphony_model::reward::RewardModel;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_OTHER,
        "The number that a reward model gives a response to a prompt, NULL where either is NULL. \
         Rewards of different models do not compare.",
        "reward(prompt, response, model[, device])",
    )
    .with_argument("prompt", "the prompt")
    .with_argument("response", "the response")
    .with_argument(
        "model",
        "the folder that `polyphony train reward` wrote, or a model with a `score` head by folder or \
         hub id, a literal",
    )
    .with_argument("device", "cpu (the default) or cuda:0, a literal")
    .build()
});

/// The scalar function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Reward {
    signature: Signature,
}

impl Default for Reward {
    fn default() -> Self {
        Self {
            // Volatile: the optimizer must not copy an expensive call into a filter.
            signature: Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Utf8; 3]),
                    TypeSignature::Exact(vec![DataType::Utf8; 4]),
                ],
                Volatility::Volatile,
            ),
        }
    }
}

impl ScalarUDFImpl for Reward {
    fn name(&self) -> &'static str {
        "reward"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [prompts, responses, literals @ ..] = arguments.args.as_slice() else {
            return exec_err!("reward needs a prompt and a response");
        };
        let literal = |at: usize| match literals.get(at) {
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => Some(text.as_str()),
            _ => None,
        };
        let Some(model) = literal(0) else {
            return plan_err!("reward needs to know its model: give its name as a literal");
        };
        let device = match (literals.get(1), literal(1)) {
            (None, _) => "cpu",
            (Some(_), Some(device)) => device,
            (Some(_), None) => {
                return plan_err!("reward needs to know its device: give its name as a literal");
            }
        };
        let device = DeviceSpec::parse(device)?;
        let model = RewardModel::load_cached(model, device)?;
        let text = |argument: &ColumnarValue| {
            let array = argument.to_array(arguments.number_rows)?;
            cast(&array, &DataType::Utf8)
        };
        let (prompts, responses) = (text(prompts)?, text(responses)?);
        let pairs = prompts
            .as_string::<i32>()
            .iter()
            .zip(responses.as_string::<i32>());
        let present: Vec<Option<(&str, &str)>> = pairs
            .map(|(prompt, response)| prompt.zip(response))
            .collect();
        let complete: Vec<(&str, &str)> = present.iter().flatten().copied().collect();
        let mut rewards = model.rewards(&complete)?.into_iter();
        let column: Float32Array = present
            .iter()
            .map(|pair| pair.and_then(|_| rewards.next()))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(column)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
