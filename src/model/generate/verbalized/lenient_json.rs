//! Lenient JSON: a reader of what models write as JSON, with line breaks and quotes in strings, trailing commas,
//! single quotes, and an end at any place.

use serde_json::{Map, Value};

/// The maximum depth of arrays and objects; deeper ones are `null`.
const MAX_DEPTH: usize = 32;

/// The JSON in a text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Json {
    /// The arrays and objects, in order.
    pub(super) values: Vec<Value>,
    /// Whether the text ended inside a string.
    pub(super) ended_in_string: bool,
}

/// The arrays and objects in a text; what stands around them is skipped. A value that is valid JSON is read as such.
pub(super) fn parse(text: &str) -> Json {
    let mut json = Json::default();
    let mut rest = text;
    while let Some(start) = rest.find(['{', '[']) {
        rest = &rest[start..];
        let mut strict = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let used = if let Some(Ok(value)) = strict.next() {
            json.values.push(value);
            strict.byte_offset()
        } else {
            let mut reader = Reader {
                text: rest,
                at: 0,
                ended_in_string: false,
            };
            json.values.push(reader.value(0));
            json.ended_in_string = reader.ended_in_string;
            reader.at
        };
        rest = &rest[used..];
    }
    json
}

/// A cursor in a text. Every step of a loop moves it forward.
struct Reader<'a> {
    text: &'a str,
    /// Byte offset.
    at: usize,
    ended_in_string: bool,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_skipped).len();
    }

    /// The value at the cursor; `null` if there is none.
    fn value(&mut self, depth: usize) -> Value {
        self.skip(char::is_whitespace);
        match self.peek() {
            Some('{') if depth < MAX_DEPTH => self.object(depth),
            Some('[') if depth < MAX_DEPTH => self.array(depth),
            Some('{' | '[') => {
                self.next();
                Value::Null
            }
            Some(quote @ ('"' | '\'')) => Value::String(self.string(quote)),
            _ => {
                // Words in brackets, as in `[WP]`, are no strings.
                serde_json::from_str(&self.word()).unwrap_or(Value::Null)
            }
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        self.next();
        let mut object = Map::new();
        loop {
            self.skip(|letter| letter.is_whitespace() || letter == ',');
            let key = match self.peek() {
                None | Some(']') => break,
                Some('}') => {
                    self.next();
                    break;
                }
                Some(quote @ ('"' | '\'')) => self.string(quote),
                Some(_) => {
                    let before = self.at;
                    let word = self.word();
                    if self.at == before {
                        self.next();
                    }
                    word
                }
            };
            self.skip(char::is_whitespace);
            if self.peek() == Some(':') {
                self.next();
                let value = self.value(depth + 1);
                object.insert(key, value);
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, depth: usize) -> Value {
        self.next();
        let mut items = Vec::new();
        loop {
            self.skip(|letter| letter.is_whitespace() || letter == ',');
            match self.peek() {
                None | Some('}') => break,
                Some(']') => {
                    self.next();
                    break;
                }
                Some(_) => {
                    let before = self.at;
                    let item = self.value(depth + 1);
                    if self.at == before {
                        self.next();
                    } else {
                        items.push(item);
                    }
                }
            }
        }
        Value::Array(items)
    }

    /// A word without quotes, up to a separator.
    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find([',', ':', '}', ']', '{', '[', '\n']);
        let word = rest[..end.unwrap_or(rest.len())].to_owned();
        self.at += word.len();
        word.trim_end().to_owned()
    }

    /// A string from its opening quote on, with escapes resolved.
    fn string(&mut self, quote: char) -> String {
        self.next();
        let mut text = String::new();
        while let Some(letter) = self.next() {
            if letter == quote && self.is_after_string() {
                return text;
            }
            if letter == '\\' {
                self.escape(&mut text);
            } else {
                text.push(letter);
            }
        }
        self.ended_in_string = true;
        text
    }

    /// Whether what follows a quote can follow a string: the end, a bracket, a colon, or a comma and a new item.
    /// Other quotes belong to the text, where the model did not escape them.
    fn is_after_string(&self) -> bool {
        let rest = self.rest().trim_start();
        match rest.strip_prefix(',') {
            None => rest.is_empty() || rest.starts_with(['}', ']', ':']),
            Some(next) => {
                let next = next.trim_start();
                let after_word = next
                    .trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
                let is_key = after_word.len() < next.len() && after_word.starts_with(':');
                is_key || next.is_empty() || next.starts_with(['"', '\'', '{', '[', '}', ']'])
            }
        }
    }

    /// Appends the letter of an escape whose backslash was read.
    fn escape(&mut self, text: &mut String) {
        match self.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b' | 'f') | None => {}
            Some('u') => self.unicode_escape(text),
            Some(other) => text.push(other),
        }
    }

    /// Appends the letter of `\uXXXX`, or of two such escapes that are a surrogate pair.
    fn unicode_escape(&mut self, text: &mut String) {
        let mut units = Vec::new();
        loop {
            let digits = self.rest().get(..4);
            let Some(unit) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
                break;
            };
            self.at += 4;
            units.push(unit);
            let is_high = (0xd800..0xdc00).contains(&unit);
            if units.len() == 2 || !is_high || !self.rest().starts_with("\\u") {
                break;
            }
            self.at += 2;
        }
        text.push_str(&String::from_utf16_lossy(&units));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let json = parse(text);
        assert_eq!(json.values.len(), 1, "{text}");
        json.values[0].clone()
    }

    #[test]
    fn valid_json_is_read_as_such() {
        let value =
            json!({"a": [1, 2.5, "x\"y\n\u{1f600}", null, true], "b": {"c": "d, \"e\": f"}});
        assert_eq!(one(&value.to_string()), value);
        assert_eq!(one(&format!("Here: {value} Enjoy.")), value);
    }

    #[test]
    fn common_faults_are_read() {
        assert_eq!(one("[{\"a\": \"one\ntwo\",},]"), json!([{"a": "one\ntwo"}]));
        assert_eq!(one("{'a': 'b', c: 0.5}"), json!({"a": "b", "c": 0.5}));
        assert_eq!(
            one(r#"{"a": "He said "no" and left, "sad".", "p": 1,}"#),
            json!({"a": "He said \"no\" and left, \"sad\".", "p": 1})
        );
        assert_eq!(
            one("{\"a\": \"\\u00e9\\ud83d\\ude00\\q\t\"}"),
            json!({"a": "é\u{1f600}q\t"})
        );
        assert_eq!(one("{\"a\", \"b\": 1}"), json!({"b": 1}));
    }

    #[test]
    fn json_may_end_anywhere() {
        let whole =
            r#"{"responses": [{"text": "a\u00e9\n\"b\"", "probability": 0.25}, {"text": "c"}]}"#;
        for end in 0..whole.len() {
            let json = parse(&whole[..end]);
            assert!(json.values.len() <= 1, "{end}");
        }
        let json = parse(r#"{"responses": [{"text": "a", "p": 1}, {"text": "the en"#);
        assert!(json.ended_in_string);
        assert_eq!(
            json.values,
            [json!({"responses": [{"text": "a", "p": 1}, {"text": "the en"}]})]
        );
    }

    #[test]
    fn deep_and_odd_input_ends() {
        parse(&"[".repeat(100_000));
        parse(&"{\"a\":".repeat(10_000));
        assert_eq!(one("[:::]"), json!([]));
        assert_eq!(one("{]"), json!({}));
        assert_eq!(parse("no json").values, [] as [Value; 0]);
    }
}
