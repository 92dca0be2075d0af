//! Text cleaning: Reddit's stored text to the text that readers saw.

use std::borrow::Cow;

/// Decodes HTML entities, removes zero-width characters, normalizes no-break spaces and line ends, and
/// trims both ends.
///
/// Entities are decoded twice: the dumps escape `&`, `<` and `>` of the Markdown source, and
/// Markdown itself shows entities (`&amp;#x200B;` is a zero-width space to its reader).
///
/// ```
/// use polyphony_engine::ingest::text::clean;
/// assert_eq!(clean(" Tea &amp; cake &lt;3\n\n&amp;#x200B;\n"), "Tea & cake <3");
/// ```
pub fn clean(raw: &str) -> Cow<'_, str> {
    if raw.is_ascii() && memchr::memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw.trim());
    }
    let decoded = match decode(raw) {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(decode(&text).into_owned()),
    };
    let bytes = decoded.as_bytes();
    let is_odd = memchr::memchr3(0xc2, 0xe2, 0xef, bytes).is_some()
        || memchr::memchr(b'\r', bytes).is_some();
    match decoded {
        decoded if is_odd => Cow::Owned(normalize_whitespace(&decoded)),
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'&', text.as_bytes()).is_some() {
        html_escape::decode_html_entities(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Joiners (U+200C, U+200D) are not removed: scripts and emoji need them.
fn normalize_whitespace(text: &str) -> String {
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

/// The number of words of a text, separated by white space.
pub fn words(text: &str) -> i64 {
    if text.is_ascii() {
        // Counts transitions from white space to non-space; branch-free over bytes, so that it
        // vectorizes.
        let is_space = |byte: u8| byte == b' ' || byte.wrapping_sub(b'\t') < 5;
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(|byte| !is_space(*byte));
        let next = bytes.get(1..).unwrap_or_default();
        let begins = bytes
            .chunks(255)
            .zip(next.chunks(255))
            .map(|(before, after)| {
                let begins = before.iter().zip(after);
                let begins = begins.map(|(a, b)| u8::from(is_space(*a)) & u8::from(!is_space(*b)));
                i64::from(begins.fold(0_u8, u8::wrapping_add))
            });
        i64::from(first) + begins.sum::<i64>()
    } else {
        text.split_whitespace().count() as i64
    }
}

/// The start of a text for the quarantine: at most `limit` bytes, truncated at a character boundary.
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
    fn entities_are_decoded_twice() {
        assert_eq!(clean("a &amp;lt; b"), "a < b");
        assert_eq!(clean("it&#39;s &quot;x&quot;&nbsp;y"), "it's \"x\" y");
        assert_eq!(clean("AT&T & co; &bogus;"), "AT&T & co; &bogus;");
        assert_eq!(clean("\u{b} plain \u{b}"), "plain");
    }

    #[test]
    fn zero_width_characters_are_removed_but_not_joiners() {
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
        assert_eq!(words(&"a b ".repeat(1000)), 2000);
        assert_eq!(words("\u{b}x\u{c}y"), 2);
        assert_eq!(words("zwei\u{2003}W\u{f6}rter"), 2);
    }

    #[test]
    fn the_start_is_truncated_at_a_character_boundary() {
        assert_eq!(start("h\u{e9}llo", 2), "h");
        assert_eq!(start("hello", 20), "hello");
    }
}
