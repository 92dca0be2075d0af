//! Prompt key: a hash of a prompt's normalized text, the same for all posts of one prompt, and its split.

use polyphony_io::hash::{Sha256, short_id};

/// The key of a prompt: the short hash of its normalized text.
pub fn of(prompt: &str) -> String {
    short_id(&[&normalize(prompt)])
}

/// The normalized text of a prompt: its letters and digits in lower case, in words separated by single
/// spaces. Punctuation, Markdown and white space do not count, so that a repost with another dash or full
/// stop has the same text. A prompt without letters or digits is its own normalized text.
///
/// ```
/// use polyphony_engine::ingest::prompt_key::normalize;
/// assert_eq!(normalize(" \"You're *late*,\" said the  Sea."), normalize("you're late said the sea"));
/// assert_eq!(normalize("...!"), "...!");
/// ```
pub fn normalize(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    let mut is_between = false;
    for character in prompt.chars() {
        match character {
            // An apostrophe within a word is dropped, in both spellings.
            '\'' | '\u{2019}' => {}
            letter if letter.is_alphanumeric() => {
                if is_between && !text.is_empty() {
                    text.push(' ');
                }
                is_between = false;
                text.extend(letter.to_lowercase());
            }
            _ => is_between = true,
        }
    }
    if text.is_empty() {
        prompt.trim().to_owned()
    } else {
        text
    }
}

/// The split of a prompt by its key: of 20 prompts, two are `test`, one is `validation`, the others are
/// `train`.
pub fn split(key: &str) -> &'static str {
    let digest = Sha256::digest(key.as_bytes());
    let number = u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ]);
    match number % 20 {
        0 | 1 => "test",
        2 => "validation",
        _ => "train",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reposts_have_one_key_and_other_prompts_another() {
        let key = of("A door opens\u{2014}slowly. It\u{2019}s yours!");
        assert_eq!(key, of("a door opens - slowly, it's YOURS"));
        assert_ne!(key, of("A door opens slowly. It is yours!"));
        assert_ne!(of("?"), of("!"));
    }

    #[test]
    fn one_in_ten_prompts_is_test_and_one_in_twenty_validation() {
        let count = |split_name: &str| {
            let keys = (0..20_000).map(|number| of(&format!("prompt {number}")));
            keys.filter(|key| split(key) == split_name).count()
        };
        assert!(count("test").abs_diff(2000) < 200);
        assert!(count("validation").abs_diff(1000) < 150);
    }
}
