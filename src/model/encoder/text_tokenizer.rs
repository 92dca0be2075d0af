//! Tokenization of an encoder's texts: truncation to the maximum length, or windows of it for long texts.

use serde::{Deserialize, Serialize};
use tokenizers::{Encoding, PostProcessor as _, Tokenizer, TruncationDirection};

use crate::files::ModelFiles;
use crate::{Error, Result, tokenizer};

/// How an encoder reads a text of more tokens than its maximum length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongTexts {
    /// Truncation, as sentence-transformers does: the encoder sees the first tokens only (or the last, if its
    /// tokenizer truncates on the left).
    #[default]
    Truncate,
    /// The mean of windows: the text's tokens are split into windows of the maximum length, each is embedded,
    /// and the embeddings are averaged with the windows' numbers of tokens as weights.
    Mean,
}

impl LongTexts {
    /// The names, as in `--long-texts`.
    pub const NAMES: [&str; 2] = ["truncate", "mean"];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncate => Self::NAMES[0],
            Self::Mean => Self::NAMES[1],
        }
    }

    /// The variant by its name.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn named(name: &str) -> Result<Self> {
        let all = [Self::Truncate, Self::Mean];
        let found = all.into_iter().find(|variant| variant.name() == name);
        found.ok_or_else(|| Error::Unknown {
            what: "treatment of long texts",
            given: name.to_owned(),
            known: Self::NAMES.join(", "),
        })
    }
}

/// The tokens of one text, without special tokens and the model's prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextTokens {
    /// The number of tokens.
    pub tokens: usize,
    /// The number of tokens that the encoder sees; less than `tokens` for a truncated text.
    pub seen: usize,
    /// The number of windows, at least 1.
    pub windows: usize,
}

/// Tokenized texts.
#[derive(Debug, Default)]
pub struct Tokenized {
    /// The token ids of each window, special tokens and the model's prompt included. The windows of a text stand
    /// together; a text that fits, or is truncated, has one.
    pub ids: Vec<Vec<u32>>,
    /// The number of the text's own tokens in each window.
    pub weights: Vec<usize>,
    /// The tokens of each text.
    pub texts: Vec<TextTokens>,
}

impl Tokenized {
    /// The number of texts that were truncated.
    pub fn truncated(&self) -> usize {
        let texts = self.texts.iter();
        texts.filter(|text| text.seen < text.tokens).count()
    }
}

/// The windows of one text: ids and weights as in [`Tokenized`].
struct Windows {
    ids: Vec<Vec<u32>>,
    weights: Vec<usize>,
    tokens: usize,
}

/// A model's tokenizer, with its maximum length and its prompt.
#[derive(Debug)]
pub(super) struct TextTokenizer {
    /// The model's name, for errors.
    model: String,
    /// The tokenizer, without truncation.
    tokenizer: Tokenizer,
    /// The side on which the tokenizer's file truncates.
    direction: TruncationDirection,
    /// The number of special tokens that are added to a text.
    special: usize,
    settings: Settings,
}

/// The settings of a model that its tokenization depends on.
#[derive(Debug)]
pub(super) struct Settings {
    /// The maximum length in tokens, special tokens and prompt included.
    pub max_length: usize,
    /// Whether texts are lower-cased first.
    pub lower_case: bool,
    /// The default prompt, prepended to every text (sentence-transformers: `default_prompt_name`).
    pub prompt: String,
    /// The number of token ids that the model knows.
    pub vocab_size: u32,
}

impl TextTokenizer {
    /// Loads the tokenizer of a model.
    ///
    /// # Errors
    /// When its file is missing or invalid, or the maximum length leaves no room beside the special tokens.
    pub(super) fn load(files: &ModelFiles, mut settings: Settings) -> Result<Self> {
        let mut tokenizer = tokenizer::load(files)?;
        let direction = tokenizer.get_truncation();
        let direction = direction.map_or(TruncationDirection::Right, |truncation| {
            truncation.direction
        });
        tokenizer::disable_padding_and_truncation(&mut tokenizer);
        let special = tokenizer.get_post_processor();
        let special = special.map_or(0, |special| special.added_tokens(false));
        let max_length = settings.max_length;
        if max_length <= special {
            return Err(Error::input(
                &files.name,
                format!(
                    "max_seq_length must be > {special}, the number of special tokens (got {max_length})"
                ),
                "correct it in its sentence_bert_config.json",
            ));
        }
        if settings.lower_case {
            settings.prompt = settings.prompt.to_lowercase();
        }
        Ok(Self {
            model: files.name.clone(),
            tokenizer,
            direction,
            special,
            settings,
        })
    }

    /// Tokenizes texts: at most the maximum length of each, or windows of it.
    ///
    /// # Errors
    /// When the tokenizer cannot encode a text, or the prompt leaves no room for windows.
    pub(super) fn tokenize(&self, texts: &[&str], long_texts: LongTexts) -> Result<Tokenized> {
        use rayon::prelude::*;
        let texts = texts.par_iter().map(|text| self.windows(text, long_texts));
        let texts: Vec<Windows> = texts.collect::<Result<_>>()?;
        let mut tokenized = Tokenized::default();
        for text in texts {
            tokenized.texts.push(TextTokens {
                tokens: text.tokens,
                seen: text.weights.iter().sum(),
                windows: text.ids.len(),
            });
            tokenized.ids.extend(text.ids);
            tokenized.weights.extend(text.weights);
        }
        Ok(tokenized)
    }

    fn windows(&self, text: &str, long_texts: LongTexts) -> Result<Windows> {
        let mut encoding = self.encode(text)?;
        let prompt = encoding.len() - self.own_tokens(&encoding);
        let tokens = encoding.len() - prompt;
        let room = self.settings.max_length - self.special;
        if encoding.len() <= room || long_texts == LongTexts::Truncate {
            encoding.truncate(room, 0, self.direction);
            let seen = self.own_tokens(&encoding);
            return Ok(Windows {
                ids: vec![self.with_special_tokens(encoding)?],
                weights: vec![seen],
                tokens,
            });
        }
        let (prompt, own) = encoding.get_ids().split_at(prompt);
        if prompt.len() >= room {
            let least = self.special + prompt.len();
            return Err(Error::input(
                &self.model,
                format!(
                    "max_seq_length must be > {least}, the tokens of its prompt and special tokens, for windows of \
                     long texts (got {})",
                    self.settings.max_length
                ),
                "use --long-texts truncate, or correct its sentence_bert_config.json",
            ));
        }
        let parts = own.chunks(room - prompt.len());
        let window = |part: &[u32]| {
            let ids = prompt.iter().chain(part);
            // An encoding as `encode_fast` makes it, of ids alone.
            let encoding = ids.map(|id| (*id, String::new(), (0, 0), None, 0));
            self.with_special_tokens(encoding.collect())
        };
        Ok(Windows {
            weights: parts.clone().map(<[u32]>::len).collect(),
            ids: parts.map(window).collect::<Result<_>>()?,
            tokens,
        })
    }

    /// The tokens of prompt and text, without special tokens.
    fn encode(&self, text: &str) -> Result<Encoding> {
        let prompt = &self.settings.prompt;
        let mut text = format!("{prompt}{text}");
        if self.settings.lower_case {
            text = text.to_lowercase();
        }
        // Where the prompt's tokens end is known by their offsets, which the fast variant does not compute.
        let encoding = if prompt.is_empty() {
            self.tokenizer.encode_fast(text, false)
        } else {
            self.tokenizer.encode(text, false)
        };
        encoding.map_err(|error| tokenizer::encode_error(&self.model, &error))
    }

    /// The number of an encoding's tokens that are the text's own, not of the prompt. A token across the border is
    /// the text's.
    fn own_tokens(&self, encoding: &Encoding) -> usize {
        let prompt = self.settings.prompt.len();
        let offsets = encoding.get_offsets().iter();
        let of_prompt = offsets.filter(|(_, end)| prompt > 0 && *end <= prompt);
        encoding.len() - of_prompt.count()
    }

    /// The token ids of a window with the special tokens.
    fn with_special_tokens(&self, encoding: Encoding) -> Result<Vec<u32>> {
        let encoding = match self.tokenizer.get_post_processor() {
            Some(processor) => processor.process(encoding, None, true),
            None => Ok(encoding),
        };
        let encoding = encoding.map_err(|error| tokenizer::encode_error(&self.model, &error))?;
        let ids = encoding.get_ids();
        let vocab_size = self.settings.vocab_size;
        if let Some(id) = ids.iter().find(|&&id| id >= vocab_size) {
            return Err(Error::input(
                &self.model,
                format!(
                    "its tokenizer gives token id {id}, the model's vocab_size is {vocab_size}"
                ),
                "its tokenizer.json belongs to another model: fetch the model again",
            ));
        }
        Ok(ids.to_vec())
    }
}
