//! What does a reader see? Text as Reddit stores it, turned into the text that was read.

use std::borrow::Cow;

/// Decodes HTML entities, drops zero-width characters, makes no-break spaces and line ends plain,
/// and trims both ends.
///
/// Entities are decoded twice: the dumps escape `&`, `<` and `>` of the Markdown source, and
/// Markdown itself shows entities (`&amp;#x200B;` is a zero-width space to its reader).
///
/// ```
/// use polyphony_engine::ingest::text::clean;
/// assert_eq!(clean(" Tea &amp; cake &lt;3\n\n&amp;#x200B;\n"), "Tea & cake <3");
/// ```
pub fn clean(raw: &str) -> String {
    let decoded = decode(raw);
    let decoded: Cow<'_, str> = match decoded {
        Cow::Borrowed(text) => decode(text),
        Cow::Owned(text) => Cow::Owned(decode(&text).into_owned()),
    };
    if decoded
        .bytes()
        .any(|byte| matches!(byte, 0xc2 | 0xe2 | 0xef | b'\r'))
    {
        tidy(&decoded)
    } else {
        decoded.trim().to_owned()
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'&', text.as_bytes()).is_some() {
        html_escape::decode_html_entities(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Joiners (U+200C, U+200D) stay: scripts and emoji need them.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{200b}' | '\u{2060}' | '\u{feff}' => {}
            '\u{a0}' => out.push(' '),
            '\r' => {
                if characters.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            other => out.push(other),
        }
    }
    out.trim().to_owned()
}

/// How many words a text has, as white space separates them.
pub fn words(text: &str) -> i64 {
    if text.is_ascii() {
        text.as_bytes()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count() as i64
    } else {
        text.split_whitespace().count() as i64
    }
}

/// The start of a text, for the quarantine: at most `limit` bytes, cut between characters.
pub fn start(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_decoded_as_readers_see_them() {
        assert_eq!(clean("a &amp;lt; b"), "a < b");
        assert_eq!(clean("it&#39;s &quot;x&quot;&nbsp;y"), "it's \"x\" y");
        assert_eq!(clean("AT&T & co; &bogus;"), "AT&T & co; &bogus;");
    }

    #[test]
    fn zero_width_characters_go_and_joiners_stay() {
        assert_eq!(clean("a\u{200b}b\u{feff}c\u{a0}d\r\ne\rf"), "abc d\ne\nf");
        assert_eq!(
            clean("\u{1f469}\u{200d}\u{1f680}"),
            "\u{1f469}\u{200d}\u{1f680}"
        );
    }

    #[test]
    fn words_are_counted_in_any_script() {
        assert_eq!(words(""), 0);
        assert_eq!(words("  two\twords \n"), 2);
        assert_eq!(words("zwei\u{2003}W\u{f6}rter"), 2);
    }

    #[test]
    fn the_start_is_cut_between_characters() {
        assert_eq!(start("h\u{e9}llo", 2), "h");
        assert_eq!(start("hello", 20), "hello");
    }
}
