//! Batch requests: a JSON line a request with `custom_id`, `method`, `url` and `body`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::request_ids;
use crate::generate::config::{GenerationConfig, PromptFormat, decimal};
use crate::generate::prompts::Prompt;
use crate::generate::row::write_rows;
use crate::{Error, Result};

/// The options of requests that generation on this machine does not have.
#[derive(Debug, Clone, Default)]
pub struct RequestOptions {
    /// One request a completion, for servers that refuse `n` > 1.
    pub single_choice: bool,
    /// Fields of the body that are set or, with the value null, left out; they take precedence.
    pub fields: Map<String, Value>,
}

/// Writes the requests for all samples of all prompts, and returns their number. `model` is the server's name of
/// the model. With a chat template these are chat completions, without it completions of the prompt's text.
///
/// The body has `model`, `messages` or `prompt`, `max_tokens`, `temperature`, `top_p`, `seed` and, if a request is
/// for several completions, `n`. Requests of one completion get consecutive seeds.
///
/// # Errors
/// When the file exists and is not the same, or cannot be written, or two requests get the same id.
pub fn write_requests(
    file: &Path,
    model: &str,
    prompts: &[Prompt],
    config: &GenerationConfig,
    options: &RequestOptions,
) -> Result<usize> {
    let sampling = &config.sampling;
    let mut requests = Vec::new();
    for id in request_ids(prompts, config, options.single_choice)? {
        let prompt = &prompts[id.prompt];
        let mut body = json!({
            "model": model,
            "max_tokens": config.max_completion_tokens(),
            "temperature": decimal(sampling.temperature),
            "top_p": decimal(sampling.top_p),
            "seed": config.seed.wrapping_add(id.first as u64),
        });
        let url = match &config.prompt_format {
            PromptFormat::Chat { system } => {
                body["messages"] = json!(config.prompting.messages(prompt, system.as_deref()));
                "/v1/chat/completions"
            }
            PromptFormat::Plain => {
                body["prompt"] = json!(config.prompting.text(&prompt.text));
                "/v1/completions"
            }
        };
        if id.completions > 1 {
            body["n"] = json!(id.completions);
        }
        if let Some(body) = body.as_object_mut() {
            body.extend(options.fields.clone());
            body.retain(|_, value| !value.is_null());
        }
        requests.push(json!({
            "custom_id": id.custom_id, "method": "POST", "url": url, "body": body,
        }));
    }
    refuse_other_file(file, &requests)?;
    write_rows(file, &requests)?;
    Ok(requests.len())
}

/// Refuses to replace a file that does not have the same requests.
fn refuse_other_file(file: &Path, requests: &[Value]) -> Result<()> {
    let Ok(existing) = std::fs::read_to_string(file) else {
        return Ok(());
    };
    let lines = requests.iter().map(Value::to_string);
    if existing.lines().map(str::to_owned).eq(lines) {
        return Ok(());
    }
    let hint = "choose another --write-requests, or remove it";
    Err(Error::input(file, "exists and has other content", hint))
}
