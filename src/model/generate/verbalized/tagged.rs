//! Tagged answers: `<response><text>..</text><probability>..</probability></response>`, also with tags missing.

use std::ops::Range;

use super::answers::{Answer, Reason, Unparsed};
use super::probability::parse_probability;

/// The element of an answer.
const RESPONSE: &str = "response";
/// The element of its probability.
const PROBABILITY: &str = "probability";
/// The elements of its text, by priority.
const TEXTS: [&str; 4] = ["text", "answer", "story", "content"];

/// A tag's position in the text: the byte offsets of its `<` and of the byte after its `>`.
#[derive(Debug, Clone, Copy)]
struct Tag {
    start: usize,
    end: usize,
}

/// The answers of a text with tags, in order; `None` if it has no opening tag `response` or `text`.
pub(super) fn parse(text: &str) -> Option<Vec<Result<Answer, Unparsed>>> {
    // Tags are found in the lower-case text, which has the same byte offsets.
    let lower = text.to_ascii_lowercase();
    let mut tags = opening_tags(&lower, RESPONSE);
    let has_responses = !tags.is_empty();
    if !has_responses {
        tags = opening_tags(&lower, TEXTS[0]);
    }
    if tags.is_empty() {
        return None;
    }
    let ends = tags.iter().skip(1).map(|tag| tag.start);
    let ends = ends.chain([text.len()]);
    let bodies: Vec<(Tag, Range<usize>, bool)> = tags
        .iter()
        .zip(ends)
        .map(|(tag, end)| {
            let start = if has_responses { tag.end } else { tag.start };
            let closing = has_responses.then(|| closing_tag(&lower[start..end], RESPONSE));
            let closing = closing.flatten().map(|closing| start + closing.start);
            (*tag, start..closing.unwrap_or(end), closing.is_some())
        })
        .collect();
    let has_elements = |body: &Range<usize>| {
        let names = TEXTS.iter().chain(&[PROBABILITY]);
        let mut tags = names.map(|name| find_tag(&lower[body.clone()], 0, "<", name));
        tags.any(|tag| tag.is_some())
    };
    let any_has_elements = bodies.iter().any(|(_, body, _)| has_elements(body));
    let items = bodies.into_iter().map(|(tag, body, is_closed)| {
        // A tag in a sentence about the format begins no answer.
        if any_has_elements && !is_closed && !has_elements(&body) {
            return Err(Unparsed::new(Reason::NoText, &text[body]));
        }
        let is_cut_off = body.end == text.len() && !is_closed;
        item(&text[body.clone()], &lower[body], is_cut_off)
            .map(|answer| answer.or_probability(attribute(&text[tag.start..tag.end])))
    });
    Some(items.collect())
}

/// The answer between the tags of a response. `is_cut_off`: the text may end in the middle of it.
fn item(text: &str, lower: &str, is_cut_off: bool) -> Result<Answer, Unparsed> {
    let probability_tag = opening_tags(lower, PROBABILITY).pop();
    let probability = probability_tag.and_then(|tag| {
        let value = &text[tag.end..];
        parse_probability(value.split('<').next().unwrap_or_default())
    });
    let text_tag = TEXTS
        .iter()
        .find_map(|name| Some((*name, *opening_tags(lower, name).first()?)));
    let (answer, is_open) = match text_tag {
        Some((name, tag)) => {
            let closing =
                closing_tag(&lower[tag.end..], name).map(|closing| tag.end + closing.start);
            // Without a closing tag the text ends at the probability, or with the response.
            let later = probability_tag.filter(|probability| probability.start > tag.start);
            let end = closing.or(later.map(|tag| tag.start));
            (&text[tag.end..end.unwrap_or(text.len())], end.is_none())
        }
        None => match probability_tag {
            // The text stands before or after the probability, without a tag of its own.
            Some(tag) => {
                let after = closing_tag(&lower[tag.end..], PROBABILITY);
                let after = after.map_or("", |closing| &text[tag.end + closing.end..]);
                let before = &text[..tag.start];
                let answer = if before.trim().is_empty() {
                    after
                } else {
                    before
                };
                (answer, false)
            }
            None => (text, true),
        },
    };
    let answer = if is_open {
        without_partial_tag(answer)
    } else {
        answer
    };
    let answer = without_cdata(answer.trim()).trim();
    if answer.is_empty() {
        return Err(Unparsed::new(Reason::EmptyText, text));
    }
    Ok(Answer {
        text: answer.to_owned(),
        probability,
        is_cut_off: is_cut_off && is_open,
    })
}

/// The opening tags of a name: `<name>`, also with attributes or a number (`<name id="1">`, `<name_1>`).
fn opening_tags(lower: &str, name: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut from = 0;
    while let Some(tag) = find_tag(lower, from, "<", name) {
        from = tag.end;
        tags.push(tag);
    }
    tags
}

/// The first closing tag of a name.
fn closing_tag(lower: &str, name: &str) -> Option<Tag> {
    find_tag(lower, 0, "</", name)
}

/// The first tag that begins with `begin` and `name`, from a byte offset on.
fn find_tag(lower: &str, mut from: usize, begin: &str, name: &str) -> Option<Tag> {
    while let Some(found) = lower[from..].find(begin) {
        let start = from + found;
        from = start + begin.len();
        let Some(rest) = lower[from..].strip_prefix(name) else {
            continue;
        };
        // Another element begins with this name: `<responses>`.
        if rest.starts_with(|letter: char| letter.is_alphabetic()) {
            continue;
        }
        let Some(close) = rest.find(['<', '>']) else {
            continue;
        };
        if rest[close..].starts_with('>') && !rest[..close].ends_with('/') {
            let end = lower.len() - rest.len() + close + 1;
            return Some(Tag { start, end });
        }
    }
    None
}

/// The probability in the attributes of a tag: `<response probability="0.1">`.
fn attribute(tag: &str) -> Option<f64> {
    let (_, value) = tag.split_once(PROBABILITY)?;
    let value = value.trim_start_matches(['=', '"', '\'', ' ']);
    parse_probability(value.split(['"', '\'', ' ', '>']).next()?)
}

/// A text without the beginning of a tag at its end, where generation was truncated: `the end.</te`.
fn without_partial_tag(text: &str) -> &str {
    let Some(start) = text.rfind('<') else {
        return text;
    };
    let partial = text[start..].to_ascii_lowercase();
    let names = TEXTS.iter().chain(&[RESPONSE, PROBABILITY]);
    let mut tags = names.flat_map(|name| [format!("<{name}>"), format!("</{name}>")]);
    if tags.any(|tag| tag.starts_with(&partial)) {
        &text[..start]
    } else {
        text
    }
}

/// The content of `<![CDATA[..]]>`, or the text itself.
fn without_cdata(text: &str) -> &str {
    let inner = text.strip_prefix("<![CDATA[");
    inner.map_or(text, |inner| inner.strip_suffix("]]>").unwrap_or(inner))
}
