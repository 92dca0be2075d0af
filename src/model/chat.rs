//! Chat templates: a model's own Jinja template, rendered and tokenized as transformers and TRL do.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::files::ModelFiles;
use crate::tokenizer::{self, SpecialTokens};
use crate::{Error, Result};

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// A model's tokenizer with its chat template.
#[derive(Debug)]
pub struct Chat {
    name: String,
    tokenizer: Tokenizer,
    environment: Environment<'static>,
    /// The beginning-of-sequence token (BOS), if the model has one.
    bos_token: Option<String>,
    /// The end-of-sequence token (EOS).
    eos_token: Option<String>,
    has_template: bool,
}

/// Token ids of a prompt followed by its completion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptCompletion {
    /// The ids of prompt and completion.
    pub ids: Vec<u32>,
    /// The number of prompt tokens; the completion's tokens follow them.
    pub prompt_len: usize,
}

impl Chat {
    /// Loads tokenizer.json, and the template of `chat_template.jinja` or `tokenizer_config.json`.
    ///
    /// # Errors
    /// When the tokenizer is missing, or a file is invalid.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let mut tokenizer = tokenizer::load(files)?;
        tokenizer::disable_padding_and_truncation(&mut tokenizer);
        let config = files
            .read_json("tokenizer_config.json")?
            .unwrap_or_default();
        let token = |name: &str| {
            let value = &config[name];
            let text = value.as_str().or(value["content"].as_str());
            text.map(str::to_owned)
        };
        let template = match files.find("chat_template.jinja")? {
            Some(path) => Some(std::fs::read_to_string(&path).map_err(Error::io("read", &path))?),
            None => template_from_config(&config["chat_template"]),
        };
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        if let Ok(syntax) = syntax.trim_blocks(true).lstrip_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |_: String| {
            // A fixed date, so that the same input gives the same tokens on every day.
            "26 Jul 2024"
        });
        let has_template = template.is_some();
        if let Some(template) = template {
            let added = environment.add_template_owned("chat", template);
            added.map_err(|error| {
                let message = format!("has an invalid chat template ({error})");
                Error::input(&files.name, message, "correct its chat_template.jinja")
            })?;
        }
        Ok(Self {
            name: files.name.clone(),
            tokenizer,
            environment,
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            has_template,
        })
    }

    /// The tokenizer; it neither truncates nor pads.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Renders a complete chat as text (transformers: `apply_chat_template`).
    ///
    /// # Errors
    /// When the model has no template, or the template rejects the messages.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_template(messages, false)
    }

    /// Renders a chat as text up to the beginning of the assistant's reply (transformers:
    /// `add_generation_prompt=True`).
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_prompt(&self, messages: &[Message]) -> Result<String> {
        self.render_template(messages, true)
    }

    /// Renders the chat template; `add_generation_prompt` appends the beginning of the assistant's reply.
    fn render_template(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if !self.has_template {
            return Err(Error::input(
                &self.name,
                "has no chat template",
                "add a chat_template.jinja to it, or choose its instruct version",
            ));
        }
        let render = || {
            self.environment.get_template("chat")?.render(context! {
                messages => Value::from(Serde(messages)),
                add_generation_prompt,
                bos_token => self.bos_token.as_deref().unwrap_or_default(),
                eos_token => self.eos_token.as_deref().unwrap_or_default(),
            })
        };
        render().map_err(|error: minijinja::Error| {
            let message = format!("its chat template refuses a chat ({error})");
            Error::input(&self.name, message, "check the roles of the messages")
        })
    }

    /// Tokenizes a chat prompt and its completion as TRL does: both are rendered together; the prompt ends
    /// where the completion's content begins.
    ///
    /// # Errors
    /// As [`Self::render`], or when the rendered prompt is not a prefix of the rendered chat.
    pub fn tokenize_chat(
        &self,
        prompt: &[Message],
        completion: &[Message],
    ) -> Result<PromptCompletion> {
        let prompt_ids = self.encode(&self.render_prompt(prompt)?, SpecialTokens::Omit)?;
        let conversation = [prompt, completion].concat();
        let ids = self.encode(&self.render(&conversation)?, SpecialTokens::Omit)?;
        if !ids.starts_with(&prompt_ids) || ids.len() == prompt_ids.len() {
            return Err(Error::input(
                &self.name,
                "its chat template does not render a chat as its prompt and then the completion",
                "use a template whose generation prompt is what it writes before a reply",
            ));
        }
        Ok(PromptCompletion {
            ids,
            prompt_len: prompt_ids.len(),
        })
    }

    /// Tokenizes a plain prompt and completion as TRL tokenizes texts without roles: concatenated, with the EOS
    /// token appended.
    ///
    /// # Errors
    /// When the tokenizer cannot encode a text.
    pub fn tokenize_plain(&self, prompt: &str, completion: &str) -> Result<PromptCompletion> {
        let eos = self.eos_token.as_deref().unwrap_or_default();
        let prompt_ids = self.encode(prompt, SpecialTokens::Add)?;
        let ids = self.encode(&format!("{prompt}{completion}{eos}"), SpecialTokens::Add)?;
        // The prompt's last token may merge with the completion's first: the completion begins at the first
        // difference.
        let common = prompt_ids.iter().zip(&ids).take_while(|(a, b)| a == b);
        let prompt_len = common.count();
        Ok(PromptCompletion { ids, prompt_len })
    }

    /// The id of the EOS token.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.tokenizer.token_to_id(self.eos_token.as_deref()?)
    }

    /// Decodes token ids to text, without special tokens.
    ///
    /// # Errors
    /// When an id is not in the tokenizer's vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|error| {
            let message = format!("its tokenizer cannot decode the model's tokens ({error})");
            Error::input(&self.name, message, "check its tokenizer.json")
        })
    }

    /// Encodes a text as token ids.
    ///
    /// # Errors
    /// When the tokenizer cannot encode the text.
    pub fn encode(&self, text: &str, special_tokens: SpecialTokens) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, special_tokens == SpecialTokens::Add)
            .map_err(|error| tokenizer::encode_error(&self.name, &error))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// The text of a message's content in JSON: a string, or the concatenated text parts.
pub fn message_content(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.concat())
        }
        _ => None,
    }
}

/// The chat template of `tokenizer_config.json`: the only one, or that named `default`.
fn template_from_config(value: &serde_json::Value) -> Option<String> {
    let is_default = |entry: &&serde_json::Value| entry["name"] == "default";
    let text = value
        .as_str()
        .or_else(|| value.as_array()?.iter().find(is_default)?["template"].as_str());
    text.map(str::to_owned)
}

/// The function `raise_exception`, which templates call to reject a chat, for example one with roles out of
/// order.
fn raise_exception(message: String) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::fixtures;

    /// `tests/fixtures/chats.json`, made by `tests/peers/small_models.py`: templates in
    /// `chat_template.jinja`, in `tokenizer_config.json`, and there among several.
    #[test]
    fn rendered_chats_match_transformers() {
        let golden = fixtures::json("chats.json");
        let config = fixtures::json("models/llama/model/tokenizer_config.json");
        let tokenizer = fixtures::fixture("models/llama/model/tokenizer.json");
        let templates = golden["templates"].as_object().unwrap();
        let mut rejected = 0;
        for (name, template) in templates {
            for source in ["file", "config", "list"] {
                let folder = tempfile::tempdir().unwrap();
                let at = |file: &str| folder.path().join(file);
                fs::copy(&tokenizer, at("tokenizer.json")).unwrap();
                let mut config = config.clone();
                let other = json!({"name": "tool_use", "template": "no"});
                let this = json!({"name": "default", "template": template});
                match source {
                    "file" => {
                        fs::write(at("chat_template.jinja"), template.as_str().unwrap()).unwrap();
                    }
                    "config" => config["chat_template"] = template.clone(),
                    _ => config["chat_template"] = json!([other, this]),
                }
                fs::write(at("tokenizer_config.json"), config.to_string()).unwrap();
                let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
                let chat = Chat::load(&files).unwrap();
                let rows = golden["rows"].as_array().unwrap().iter();
                for row in rows.filter(|row| row["template"] == *name) {
                    let messages: Vec<Message> =
                        serde_json::from_value(row["messages"].clone()).unwrap();
                    let rendered = if row["begins"] == true {
                        chat.render_prompt(&messages)
                    } else {
                        chat.render(&messages)
                    };
                    if let Some(expected) = row["text"].as_str() {
                        assert_eq!(rendered.unwrap(), expected, "{name} in {source}");
                    } else {
                        let message = rendered.unwrap_err().to_string();
                        assert!(message.contains("turn"), "{name}: {message}");
                        rejected += 1;
                    }
                }
            }
        }
        assert_eq!(rejected, 3 * 6);
    }
}
