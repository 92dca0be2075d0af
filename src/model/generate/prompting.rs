//! Prompting: the messages that ask a model for one text (direct) or for several with probabilities (verbalized
//! sampling).

use super::prompts::Prompt;
use super::verbalized::VerbalizedOptions;
use crate::chat::Message;

/// How texts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Prompting {
    /// The prompt alone: a completion is one text.
    #[default]
    Direct,
    /// Verbalized sampling (arXiv 2510.01171): a completion holds several answers with their probabilities.
    Verbalized(VerbalizedOptions),
}

impl Prompting {
    /// `direct` or `verbalized`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Verbalized(_) => "verbalized",
        }
    }

    /// Number of texts that a completion is asked for, at least 1.
    pub const fn answers_per_completion(self) -> usize {
        match self {
            Self::Direct => 1,
            Self::Verbalized(options) => options.answers,
        }
    }

    /// The messages of a prompt, after the system prompt, if any. The instruction of verbalized sampling is put
    /// before the last message's content, because some chat templates refuse a system message.
    pub fn messages(self, prompt: &Prompt, system: Option<&str>) -> Vec<Message> {
        let system = system.map(|system| Message {
            role: "system".to_owned(),
            content: system.to_owned(),
        });
        let mut messages: Vec<Message> =
            system.into_iter().chain(prompt.messages.clone()).collect();
        if let Some(last) = messages.last_mut() {
            last.content = self.text(&last.content);
        }
        messages
    }

    /// The text of a prompt without a chat template.
    pub fn text(self, prompt: &str) -> String {
        match self {
            Self::Direct => prompt.to_owned(),
            Self::Verbalized(options) => options.prompt(prompt),
        }
    }
}
