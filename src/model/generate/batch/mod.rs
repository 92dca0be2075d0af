//! Batch files of the `OpenAI` API: requests for a server that generates the texts, and its responses as output
//! rows. vLLM (`vllm run-batch`) and many services read and write the same files.

mod requests;
mod responses;

use super::config::GenerationConfig;
use super::prompts::Prompt;
use crate::{Error, Result};

pub use requests::{RequestOptions, write_requests};
pub use responses::{ResponseCounts, read_responses};

/// One request: its id and the completions that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RequestId {
    /// `custom_id`: the prompt id, or `PROMPT_ID#N` for completion N alone.
    custom_id: String,
    /// Index of the prompt.
    prompt: usize,
    /// Index of its first completion among those of the prompt.
    first: usize,
    /// Number of its completions: the parameter `n`.
    completions: usize,
}

/// The requests of all prompts, in order: one a prompt, or with `single_choice` one a completion.
///
/// # Errors
/// When samples and answers do not fit, or two requests get the same id.
fn request_ids(
    prompts: &[Prompt],
    config: &GenerationConfig,
    single_choice: bool,
) -> Result<Vec<RequestId>> {
    let completions = config.completions_per_prompt()?;
    let mut ids: Vec<RequestId> = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        if single_choice && completions > 1 {
            ids.extend((0..completions).map(|first| RequestId {
                custom_id: format!("{}#{first}", prompt.id),
                prompt: number,
                first,
                completions: 1,
            }));
        } else {
            ids.push(RequestId {
                custom_id: prompt.id.clone(),
                prompt: number,
                first: 0,
                completions,
            });
        }
    }
    let mut sorted: Vec<&str> = ids.iter().map(|id| id.custom_id.as_str()).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(ids),
        Some(pair) => Err(Error::config(
            "--single-choice",
            format!("gives two requests the custom_id `{}`", pair[0]),
            "give the prompts other ids, without `#`",
        )),
    }
}

#[cfg(test)]
mod tests;
