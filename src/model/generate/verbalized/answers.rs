//! Parser of verbalized samples: the answers and probabilities in a completion, with tags or as JSON.

use super::{json, tagged};

/// One answer of a completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text, not blank.
    pub text: String,
    /// The probability that the model wrote, in [0, 1]; `None` if it wrote none, or no such number.
    pub probability: Option<f64>,
    /// Whether the completion ended before the text did.
    pub is_cut_off: bool,
}

impl Answer {
    /// The same answer, with this probability if it has none.
    pub(super) fn or_probability(self, probability: Option<f64>) -> Self {
        Self {
            probability: self.probability.or(probability),
            ..self
        }
    }
}

/// A part of a completion that is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unparsed {
    /// Why.
    pub reason: Reason,
    /// The part.
    pub text: String,
}

impl Unparsed {
    pub(super) fn new(reason: Reason, text: &str) -> Self {
        Self {
            reason,
            text: text.to_owned(),
        }
    }
}

/// Why a part of a completion is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The completion has neither tags nor JSON with an answer.
    NoAnswer,
    /// An item of JSON has no text.
    NoText,
    /// The text of an answer is blank.
    EmptyText,
    /// The completion has more answers than it was asked for.
    TooMany,
}

impl Reason {
    /// The name in `OUT.unparsed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::NoText => "no_text",
            Self::EmptyText => "empty_text",
            Self::TooMany => "too_many",
        }
    }
}

/// The answers of a completion, and what is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParsedCompletion {
    /// The answers, in order.
    pub answers: Vec<Answer>,
    /// The parts that are no answer, in order.
    pub unparsed: Vec<Unparsed>,
}

/// Reads up to `max_answers` answers of a completion: elements as the prompt asks for (missing closing tags are
/// tolerated), or JSON (also in a code fence, truncated or slightly invalid). Text before `</think>` is skipped.
pub fn parse(completion: &str, max_answers: usize) -> ParsedCompletion {
    let text = completion.rsplit("</think>").next().unwrap_or(completion);
    let text = without_fence(text.trim());
    let items = if text.starts_with(['{', '[']) {
        json::parse(text).or_else(|| tagged::parse(text))
    } else {
        tagged::parse(text).or_else(|| json::parse(text))
    };
    let mut parsed = ParsedCompletion::default();
    for item in items.unwrap_or_default() {
        match item {
            Ok(answer) if parsed.answers.len() < max_answers => parsed.answers.push(answer),
            Ok(answer) => {
                let extra = Unparsed::new(Reason::TooMany, &answer.text);
                parsed.unparsed.push(extra);
            }
            Err(unparsed) => parsed.unparsed.push(unparsed),
        }
    }
    if parsed.answers.is_empty() && parsed.unparsed.is_empty() {
        let whole = Unparsed::new(Reason::NoAnswer, completion);
        parsed.unparsed.push(whole);
    }
    parsed
}

/// The content of a code fence that begins the text, or the text itself.
fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else {
        return text;
    };
    // The first line may name a language.
    let inner = inner.split_once('\n').map_or("", |(_, inner)| inner);
    inner
        .rsplit_once("```")
        .map_or(inner, |(inner, _)| inner)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and probability of each answer.
    fn read(completion: &str) -> Vec<(String, Option<f64>)> {
        let answers = parse(completion, 99).answers.into_iter();
        answers
            .map(|answer| (answer.text, answer.probability))
            .collect()
    }

    fn expect(completion: &str, expected: &[(&str, Option<f64>)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, probability)| ((*text).to_owned(), *probability))
            .collect();
        assert_eq!(read(completion), expected, "{completion}");
    }

    fn reasons(completion: &str) -> Vec<Reason> {
        let unparsed = parse(completion, 2).unparsed.into_iter();
        unparsed.map(|unparsed| unparsed.reason).collect()
    }

    const TWO: [(&str, Option<f64>); 2] = [("a\n\nb", Some(0.25)), ("c", Some(0.1))];

    #[test]
    fn tags_as_asked_for() {
        let one = "<response>\n<text>a\n\nb</text>\n<probability>0.25</probability>\n</response>";
        let other = "<response><probability>0.1</probability><text> c </text></response>";
        expect(&format!("{one}\n{other}"), &TWO);
        expect(&format!("Sure!\n```xml\n{one}\n{other}\n```\nDone."), &TWO);
        expect(&format!("```\n{one}\n{other}\n```"), &TWO);
        expect(&format!("<responses>{one}{other}</responses>"), &TWO);
        expect(
            &format!("<think><response>no</response></think>{one}{other}"),
            &TWO,
        );
        expect(
            &format!("{one}{other}").to_uppercase(),
            &[("A\n\nB", Some(0.25)), ("C", Some(0.1))],
        );
    }

    #[test]
    fn closing_tags_may_be_missing() {
        expect(
            "<response><text>a\n\nb<probability>0.25</probability><response><text>c</text><probability>0.1",
            &TWO,
        );
        expect(
            "<text>a\n\nb</text><probability>0.25</probability>\n<text>c</text> <probability>10%",
            &TWO,
        );
        expect(
            "<response><text>a\n\nb</response><response><text>c",
            &[("a\n\nb", None), ("c", None)],
        );
    }

    #[test]
    fn other_tags_and_attributes_are_read() {
        expect(
            "<response id=\"1\" probability=\"0.25\">a\n\nb</response><response_2>\nc\n\
             <probability>0.1</probability></response_2>",
            &TWO,
        );
        expect(
            "<response><probability>0.25</probability>a\n\nb</response>\
             <response><story><![CDATA[c]]></story><probability>\"0.1\"</probability></response>",
            &TWO,
        );
        // A tag in a sentence about the format begins no answer; a closed one does.
        let sentence = "I use a <response> tag each.\n";
        let one = "<response><text>a</text></response><response>b</response>";
        expect(&format!("{sentence}{one}"), &[("a", None), ("b", None)]);
        // Tags of the story stay in it.
        expect(
            "<response><text>a <b>bold</b> 1 < 2</text></response>",
            &[("a <b>bold</b> 1 < 2", None)],
        );
    }

    #[test]
    fn a_truncated_completion_keeps_the_beginning_of_its_last_answer() {
        let truncated = "<response><text>a</text><probability>0.5</probability></response>\
                         <response><text>the begin";
        for ending in ["", "<", "</te", "</text"] {
            let parsed = parse(&format!("{truncated}{ending}"), 2);
            assert_eq!(parsed.answers[1].text, "the begin", "{ending}");
            assert!(!parsed.answers[0].is_cut_off && parsed.answers[1].is_cut_off);
        }
        let parsed = parse(&format!("{truncated}ning</text><prob"), 2);
        assert_eq!(parsed.answers[1].text, "the beginning");
        assert!(!parsed.answers[1].is_cut_off);
        let json = parse(
            r#"{"responses":[{"text":"a","probability":0.5},{"text":"the begin"#,
            2,
        );
        assert_eq!(json.answers[1].text, "the begin");
        assert!(!json.answers[0].is_cut_off && json.answers[1].is_cut_off);
    }

    #[test]
    fn json_in_many_shapes() {
        let list =
            r#"[{"text": "a\n\nb", "probability": 0.25}, {"text": "c", "probability": "0.1"}]"#;
        let other = r#"{"Response": "a\n\nb", "prob": "25%"} {"answer": " c ", "confidence": 0.1}"#;
        let shapes = [
            list.to_owned(),
            format!("{{\"responses\": {list}}}"),
            format!("{{\"reasoning\": \"none\", \"responses\": {list},}}"),
            format!("```json\n{{\"responses\": {list}}}\n```"),
            format!("Here they are:\n\n```json\n{list}\n```\nI hope {{this}} helps."),
            other.to_owned(),
            other.replace("} {", "}\n{"),
            list.replace("\\n", "\n"),
        ];
        for shape in shapes {
            expect(&shape, &TWO);
        }
        expect(
            r#"{"responses": ["a\n\nb", "c"]}"#,
            &[("a\n\nb", None), ("c", None)],
        );
        expect(r#"[{"text": "a", "probability": 7}]"#, &[("a", None)]);
    }

    #[test]
    fn what_is_no_answer_has_a_reason() {
        assert_eq!(reasons("Once upon a time."), [Reason::NoAnswer]);
        assert_eq!(reasons(""), [Reason::NoAnswer]);
        assert_eq!(reasons("a {b} c"), [Reason::NoAnswer]);
        assert_eq!(reasons("[WP] A king melts.\n\nOnce"), [Reason::NoAnswer]);
        assert_eq!(
            reasons("<response><text> </text></response>"),
            [Reason::EmptyText]
        );
        assert_eq!(
            reasons(r#"[{"text": "a"}, {"title": "b"}, {"text": ""}, 3]"#),
            [Reason::NoText, Reason::EmptyText, Reason::NoText]
        );
        let many = "<response>a</response><response>b</response><response>c</response>";
        let parsed = parse(many, 2);
        assert_eq!(parsed.answers.len(), 2);
        assert_eq!(parsed.unparsed, [Unparsed::new(Reason::TooMany, "c")]);
    }

    /// Any prefix of a completion is read without a panic, and gives no more answers than a longer one.
    #[test]
    fn every_prefix_is_read() {
        let tagged = "é<response><text>ä</text><probability>0,5</probability></response>".repeat(3);
        let json = r#"{"responses": [{"text": "ä \"q\"", "probability": 0.5}, {"text": "ö"}]}"#;
        for whole in [tagged.as_str(), json] {
            let ends = whole.char_indices().map(|(at, _)| at);
            let counts: Vec<usize> = ends.map(|end| read(&whole[..end]).len()).collect();
            assert!(counts.is_sorted(), "{counts:?}");
        }
    }
}
