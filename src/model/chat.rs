//! Which text, and which tokens, does a chat become? The model's own template, rendered as
//! transformers renders it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::files::ModelFiles;
use crate::{Error, Result};

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A model's tokenizer with its chat template.
#[derive(Debug)]
pub struct Chat {
    name: String,
    tokenizer: Tokenizer,
    environment: Environment<'static>,
    /// The token before every text, where the model has one.
    bos: Option<String>,
    /// The token after every text.
    eos: Option<String>,
    has_template: bool,
}

/// A prompt and an answer to it as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt and answer.
    pub ids: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt: usize,
}

impl Chat {
    /// Loads tokenizer.json, and the template of `chat_template.jinja` or `tokenizer_config.json`.
    ///
    /// # Errors
    /// When the tokenizer is missing, or a file is not what it should be.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let path = files.require("tokenizer.json")?;
        let mut tokenizer = Tokenizer::from_file(&path).map_err(|error| {
            let message = format!("is no tokenizer ({error})");
            Error::input(&path, message, "fetch the model again")
        })?;
        tokenizer.with_padding(None);
        drop(tokenizer.with_truncation(None));
        let settings = files.json("tokenizer_config.json")?.unwrap_or_default();
        let token = |name: &str| {
            let given = &settings[name];
            let text = given.as_str().or(given["content"].as_str());
            text.map(str::to_owned)
        };
        let template = match files.find("chat_template.jinja")? {
            Some(path) => Some(std::fs::read_to_string(&path).map_err(Error::io("read", &path))?),
            None => in_settings(&settings["chat_template"]),
        };
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        if let Ok(syntax) = syntax.trim_blocks(true).lstrip_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", refuse);
        environment.add_function("strftime_now", |_: String| {
            // The same input gives the same tokens, whatever the day.
            "26 Jul 2024"
        });
        let has_template = template.is_some();
        if let Some(template) = template {
            let added = environment.add_template_owned("chat", template);
            added.map_err(|error| {
                let message = format!("has a chat template that cannot be read ({error})");
                Error::input(&files.name, message, "mend its chat_template.jinja")
            })?;
        }
        Ok(Self {
            name: files.name.clone(),
            tokenizer,
            environment,
            bos: token("bos_token"),
            eos: token("eos_token"),
            has_template,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat as text; `answer_begins` puts what stands before an assistant's words at its end.
    ///
    /// # Errors
    /// When the model has no template, or it refuses the messages.
    pub fn render(&self, messages: &[Message], answer_begins: bool) -> Result<String> {
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
                add_generation_prompt => answer_begins,
                bos_token => self.bos.as_deref().unwrap_or_default(),
                eos_token => self.eos.as_deref().unwrap_or_default(),
            })
        };
        render().map_err(|error: minijinja::Error| {
            let message = format!("its chat template refuses a chat ({error})");
            Error::input(&self.name, message, "check the roles of the messages")
        })
    }

    /// A chat and the answer to it, as TRL tokenises them: the prompt ends where the answer's words
    /// begin, and its tokens must be the first of the whole.
    ///
    /// # Errors
    /// As [`Self::render`], or when the prompt's tokens are not the first of the whole.
    pub fn tokens(&self, prompt: &[Message], answer: &[Message]) -> Result<Tokens> {
        let begin = self.encode(&self.render(prompt, true)?, false)?;
        let whole = [prompt, answer].concat();
        let ids = self.encode(&self.render(&whole, false)?, false)?;
        if !ids.starts_with(&begin) || ids.len() == begin.len() {
            return Err(Error::input(
                &self.name,
                "its chat template does not begin a chat with its prompt: the answer's tokens cannot be told",
                "use a template whose generation prompt is what it writes before an answer",
            ));
        }
        Ok(Tokens {
            ids,
            prompt: begin.len(),
        })
    }

    /// A plain prompt and answer, as TRL tokenises texts that are no chats: the two joined, the end
    /// token appended.
    ///
    /// # Errors
    /// When the tokenizer refuses a text.
    pub fn plain_tokens(&self, prompt: &str, answer: &str) -> Result<Tokens> {
        let eos = self.eos.as_deref().unwrap_or_default();
        let begin = self.encode(prompt, true)?;
        let ids = self.encode(&format!("{prompt}{answer}{eos}"), true)?;
        // A prompt's last token may join the answer's first: the answer begins where they differ.
        let same = begin.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        Ok(Tokens { ids, prompt: same })
    }

    /// The token after every text.
    pub fn end(&self) -> Option<u32> {
        self.tokenizer.token_to_id(self.eos.as_deref()?)
    }

    /// The text of tokens, special ones left out.
    ///
    /// # Errors
    /// When the tokenizer does not know one.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|error| {
            let message = format!("the tokenizer knows no text for its tokens ({error})");
            Error::input(&self.name, message, "check its tokenizer.json")
        })
    }

    /// A text's tokens.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn encode(&self, text: &str, with_special: bool) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, with_special);
        let encoding = encoding.map_err(|error| {
            let message = format!("the tokenizer refuses a text ({error})");
            Error::input(&self.name, message, "check its tokenizer.json")
        })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// `tokenizer_config.json` holds one template, or several by name.
fn in_settings(given: &serde_json::Value) -> Option<String> {
    let named = |entry: &&serde_json::Value| entry["name"] == "default";
    let text = given
        .as_str()
        .or_else(|| given.as_array()?.iter().find(named)?["template"].as_str());
    text.map(str::to_owned)
}

/// Templates refuse chats that they cannot write.
fn refuse(message: String) -> std::result::Result<Value, minijinja::Error> {
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
    fn chats_are_written_as_by_transformers() {
        let golden = fixtures::json("chats.json");
        let settings = fixtures::json("models/llama/model/tokenizer_config.json");
        let tokenizer = fixtures::fixture("models/llama/model/tokenizer.json");
        let templates = golden["templates"].as_object().unwrap();
        let mut refused = 0;
        for (name, template) in templates {
            for place in ["file", "settings", "list"] {
                let folder = tempfile::tempdir().unwrap();
                let at = |file: &str| folder.path().join(file);
                fs::copy(&tokenizer, at("tokenizer.json")).unwrap();
                let mut settings = settings.clone();
                let other = json!({"name": "tool_use", "template": "no"});
                let this = json!({"name": "default", "template": template});
                match place {
                    "file" => {
                        fs::write(at("chat_template.jinja"), template.as_str().unwrap()).unwrap();
                    }
                    "settings" => settings["chat_template"] = template.clone(),
                    _ => settings["chat_template"] = json!([other, this]),
                }
                fs::write(at("tokenizer_config.json"), settings.to_string()).unwrap();
                let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
                let chat = Chat::load(&files).unwrap();
                let rows = golden["rows"].as_array().unwrap().iter();
                for row in rows.filter(|row| row["template"] == *name) {
                    let messages: Vec<Message> =
                        serde_json::from_value(row["messages"].clone()).unwrap();
                    let given = chat.render(&messages, row["begins"] == true);
                    if let Some(known) = row["text"].as_str() {
                        assert_eq!(given.unwrap(), known, "{name} in {place}");
                    } else {
                        let said = given.unwrap_err().to_string();
                        assert!(said.contains("turn"), "{name}: {said}");
                        refused += 1;
                    }
                }
            }
        }
        assert_eq!(refused, 3 * 6);
    }
}
