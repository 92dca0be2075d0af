//! Footer: the lines below a story in which its author speaks to the readers ("More at r/Name", "EDIT: thanks
//! for the gold", a link to the next part). They are no part of the story, and a model would learn them.
//!
//! The rule is conservative: a story that keeps a footer does less harm than one that loses its ending.
//!
//! 1. Only whole lines at the end are cut, from the last line upwards, until a line is no footer. At most
//!    [`MAX_LINES`] lines are read, and a line of more than [`MAX_BYTES`] bytes is no footer.
//! 2. These lines are footers: nothing but names of subreddits and users (`r/Name`, `/u/Name`, with or
//!    without a link); a link or such a name together with an invitation ("more stories", "check out",
//!    "subscribe", "my sub"); a link to Patreon, Ko-fi, Buy Me a Coffee or `PayPal`; a link to another
//!    part ("[Part 2](...)", "[Next](...)"), or "Part 2 in the comments"; "EDIT:" with thanks, awards,
//!    corrections or a link; "Author's note:" and "A/N:"; a request for feedback; an apology for
//!    formatting or typos; "Thanks for reading!"; a count of words ("(523 words)", "WC: 523").
//! 3. Lines that a story may end with, too ("Thank you for reading", "I hope you enjoyed it", "First time
//!    posting"), are cut only above another footer, or below a rule (`---`, `***`).
//! 4. A rule above a footer is cut with it. A line with quotation marks is speech, and only a bare name,
//!    a link to a part or to one of the sites makes it a footer.
//! 5. A text that is all footer is not cut.

use std::sync::LazyLock;

use regex::{RegexSet, RegexSetBuilder};

/// The maximum number of lines of a footer, blank ones not counted.
pub const MAX_LINES: usize = 12;

/// The maximum length of a line of a footer, in bytes.
pub const MAX_BYTES: usize = 400;

/// Footers in any line. Word boundaries are those of ASCII, which `regex` matches fastest.
const ALWAYS: [&str; 5] = [
    // Names of subreddits and users only.
    r"^[^a-z0-9]*(?:/?[ru]/[a-z0-9_-]{2,40}\.?\]?(?:\([^)\s]*\))?[^a-z0-9]*)+$",
    r"(?:patreon|ko-fi|buymeacoffee)\.com/|paypal\.me/",
    r"\[[^\]]{0,40}(?-u:\b)(?:part|chapter|pt)\.? ?(?:[0-9]{1,3}|one|two|three|four|five|six|[ivx]{1,4})(?-u:\b)[^\]]{0,40}\]\(",
    r"\[[^\]a-z0-9]{0,5}(?:next|prev|previous|continued?|continuation|continue reading)(?-u:\b)[^\]]{0,20}\]\(",
    r"^[^a-z0-9]*(?:part|pt|chapter|cont|continued|continues)(?-u:\b).{0,25}(?-u:\b)in (?:the |a |my )?(?:comments?|repl(?:y|ies))(?-u:\b).{0,10}$",
];

/// Footers in a line without quotation marks.
const UNLESS_QUOTED: [&str; 6] = [
    r"^[^a-z0-9]*edit(?:ed|s)?(?-u:\b)[^a-z0-9]*[0-9]{0,2}[^a-z0-9]*[:\u{2013}\u{2014}-].*(?:thank|(?:for the|first|my|reddit) (?:gold|silver|platinum|awards?)(?-u:\b)|gilded|typo|grammar|spelling|formatting|wording|upvote|karma|this blew up|front ?page|https?:|feedback|criticism|punctuation)",
    r"^[^a-z0-9]*edit(?:ed)? (?:for|to fix|to correct) (?:.{0,20} )?(?:typo|grammar|spelling|format|spacing|clarity|wording|punctuation|mistake|error)",
    r"^[^a-z0-9]*(?:author['\u{2019}]?s?['\u{2019}]? note|a/n)(?: ?[:\u{2013}\u{2014}-]|[^a-z0-9]*$)",
    r"(?-u:\b)(?:feedback|criticism|critiques?)(?-u:\b)(?:.{0,60}(?-u:\b)(?:welcomed?|appreciated)(?-u:\b)|,? please)",
    r"^[^a-z0-9]*(?:thanks for reading(?-u:\b).{0,120}!|sorry (?:for|about) (?:.{0,20} )?(?:format|typo|grammar|spelling))",
    r"^[^a-z0-9]*(?:wc|word ?count)[^a-z0-9]+[0-9][0-9,.]*(?: words)?[^a-z0-9]*$|^[(\[][0-9][0-9,.]* words[)\]]$",
];

/// A name or a link, and an invitation: together they are a footer in a line without quotation marks.
const ADDRESS: &str = r"(?:^|[^a-z0-9])[ru]/[a-z0-9_]{2}|https?://|reddit\.com/";
const INVITATION: &str = r"(?-u:\b)(?:(?:read|find|see|get|want|for) (?:some |even )?(?:more|moar|longer|other)(?-u:\b)|(?:more|moar|other) (?:of (?:my|these)|stories|story|writing|writings|work|works|stuff|prompts|responses|content|here|like (?:this|it)|from me|by me|at|on|over at)(?-u:\b)|(?:liked?|enjoy(?:ed)?) (?:this|my|the story|the read|what)|check (?:it |me |us )?out|my (?:[a-z]+ ){0,2}(?:sub|subreddit|blog|website|site|patreon|page|writing|writings|stories|work|stuff|book|novel)(?-u:\b)|subscribe|feel free to|(?:come|join|visit|follow) (?:on |and |me|my|us|over|by)|thanks? (?:you )?for (?:reading|the prompt))";

/// Lines that may be a story's last words: footers only beside a footer or below a rule.
const WEAK: [&str; 4] = [
    r"^[^a-z0-9]*(?:thanks|thank you|thx|ty)(?-u:\b).{0,20}(?-u:\b)for (?:reading|tuning|the prompt|the read)",
    r"^[^a-z0-9]*(?:i )?(?:really )?hope (?:you|y'all|everyone)(?: all| guys)? (?:enjoy|like)",
    r"^[^a-z0-9]*(?:(?:this (?:is|was) )?my )?(?:first|1st|second) (?:time (?:posting|writing|trying|here)|attempt at|post|prompt|submission|response)(?-u:\b)",
    r"^[^a-z0-9]*(?:edit(?:ed)?(?-u:\b)[^a-z0-9]*[0-9]{0,2}[^a-z0-9]*:|(?:part|pt) (?:2|two)(?-u:\b)|(?:had|this was) (?:so much |a lot of )?fun)",
];

/// What a line at the end of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Footer,
    Weak,
    Rule,
    Story,
}

/// All patterns in one set: [`ALWAYS`], [`UNLESS_QUOTED`], [`WEAK`], [`ADDRESS`], [`INVITATION`]. `None`
/// only if a pattern is not valid, which the tests rule out.
static PATTERNS: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    let patterns = ALWAYS
        .iter()
        .chain(&UNLESS_QUOTED)
        .chain(&WEAK)
        .chain([&ADDRESS, &INVITATION]);
    RegexSetBuilder::new(patterns)
        .case_insensitive(true)
        .build()
        .ok()
});

/// Splits the footer off a cleaned text: the story, and the footer if there is one. Both are trimmed.
///
/// ```
/// use polyphony_engine::ingest::footer::split;
/// let text = "She closed the door.\n\n---\n\nMore stories at r/Doors";
/// assert_eq!(split(text), ("She closed the door.", Some("---\n\nMore stories at r/Doors")));
/// assert_eq!(split("Thank you for reading."), ("Thank you for reading.", None));
/// ```
pub fn split(text: &str) -> (&str, Option<&str>) {
    let mut cut = text.len();
    // From here on there is a weak line that has no footer below it.
    let mut weak = None;
    let mut rest = text.trim_end();
    for _ in 0..MAX_LINES {
        let start = rest.rfind('\n').map_or(0, |at| at + 1);
        let line = rest[start..].trim();
        if line.len() > MAX_BYTES || line.is_empty() {
            break;
        }
        match kind(line) {
            Line::Story => break,
            Line::Footer => (cut, weak) = (start, None),
            Line::Weak if cut < text.len() && weak.is_none() => cut = start,
            Line::Weak => weak = Some(start),
            Line::Rule if cut < text.len() || weak.is_some() => (cut, weak) = (start, None),
            Line::Rule => {}
        }
        rest = rest[..start].trim_end();
    }
    let story = text[..cut].trim_end();
    if cut == text.len() || !story.contains(char::is_alphanumeric) {
        return (text, None);
    }
    (story, Some(text[cut..].trim()))
}

/// As [`split`]; with `keep` the whole text is the story.
pub fn split_unless(keep: bool, text: &str) -> (&str, Option<&str>) {
    if keep { (text, None) } else { split(text) }
}

fn kind(line: &str) -> Line {
    if is_rule(line) {
        return Line::Rule;
    }
    let Some(patterns) = &*PATTERNS else {
        return Line::Story;
    };
    let matches = patterns.matches(line);
    if !matches.matched_any() {
        return Line::Story;
    }
    let any = |from: usize, count: usize| (from..from + count).any(|index| matches.matched(index));
    let (quotable, weak) = (ALWAYS.len(), ALWAYS.len() + UNLESS_QUOTED.len());
    let address = weak + WEAK.len();
    let quoted = line.contains(['"', '\u{201c}', '\u{201d}']);
    let invites = matches.matched(address) && matches.matched(address + 1);
    if any(0, quotable) || (!quoted && (any(quotable, UNLESS_QUOTED.len()) || invites)) {
        Line::Footer
    } else if !quoted && any(weak, WEAK.len()) {
        Line::Weak
    } else {
        Line::Story
    }
}

/// A horizontal rule: at least two of `-`, `*`, `_`, `=`, `~`, `#` or dashes, and nothing else.
fn is_rule(line: &str) -> bool {
    let is_mark = |mark: char| {
        matches!(
            mark,
            '-' | '*' | '_' | '=' | '~' | '#' | '\u{2013}' | '\u{2014}' | '\\'
        )
    };
    line.chars().all(|mark| is_mark(mark) || mark == ' ')
        && line.chars().filter(|mark| is_mark(*mark)).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "The lamp went out.\n\nNobody came to light it again.";

    #[test]
    fn footers_are_cut() {
        for footer in [
            "/r/LampLight",
            "r/LampLight",
            "[/r/LampLight](https://www.reddit.com/r/LampLight/)",
            "**^^r/LampLight**",
            "r/LampLight | u/keeper",
            "r/LampLight for more!",
            "More stories at /r/LampLight",
            "(If you enjoyed this feel free to check out my subreddit /r/LampLight where I post.)",
            "heres my writing sub if anyone cares r/LampLight",
            "**Want MOAR light?** r/LampLight",
            "Thanks for reading! If you liked it, come join me at [r/Lamp.](https://old.reddit.com/r/Lamp/)",
            "Support me: https://www.patreon.com/keeper",
            "[Part 2](https://www.reddit.com/r/LampLight/comments/abc/)",
            "I had fun with this prompt, here's [part two.](https://www.reddit.com/r/x/)",
            "[Next >>](/r/LampLight/comments/def)",
            "Part 2 in the comments!",
            "(continued in reply)",
            "EDIT: thanks for the gold, kind stranger!",
            "*Edit 2: fixed a typo*",
            "Edit: sorry for grammar.",
            "Edited for spacing",
            "Author's note: I wrote this on a bus.",
            "Feedback is always welcome.",
            "Feedback please",
            "Thanks for reading!",
            "(523 words)",
            "WC: 523",
            "___\n\nThank you for reading",
            "Thank you for reading.\n\nr/LampLight",
            "***\n\nEdit: thanks for the silver!\n\n--\n\nr/LampLight",
            "r/LampLight\n\n***",
        ] {
            let text = format!("{STORY}\n\n{footer}");
            assert_eq!(split(&text), (STORY, Some(footer)), "{footer}");
        }
    }

    #[test]
    fn last_lines_of_stories_are_kept() {
        for ending in [
            "Thank you for reading.",
            "I hope you enjoy it.",
            "She had posted it all on r/relationships, of course.",
            "\"Check out my subreddit, r/LampLight,\" said the ghost.",
            "\u{201c}Feedback is always welcome,\u{201d} the machine purred.",
            "EDIT: I have the gold. It blew up in my face.",
            "EDIT: they are at the door. They are at the d",
            "Edit: the lamp is moving.",
            "I picked up [the pen.](https://www.reddit.com/r/CasualScribblings/)",
            "To be continued.",
            "Part of me knew that it would end like this.",
            "Part 2?",
            "More were waiting below.",
            "I stared at the 523 words.",
            "523 words",
            "***",
            "First time I saw the sea, I cried.",
            "He wanted more of my work on the wall.",
            "\"Thanks for reading to me!\"",
            "Note: the lamp stays on.",
            "* * *\n\nThe end.",
            "Thanks to the lamp we lived.",
            "The next chapter of his life had begun.",
            "and/or nothing more here.",
        ] {
            let text = format!("{STORY}\n\n{ending}");
            assert_eq!(split(&text), (text.as_str(), None), "{ending}");
        }
    }

    #[test]
    fn only_the_end_is_read() {
        let middle = format!("r/LampLight\n\n{STORY}");
        assert_eq!(split(&middle), (middle.as_str(), None));
        let long = format!("{STORY}\n\nMore at r/LampLight {}", "la ".repeat(200));
        assert_eq!(split(&long), (long.as_str(), None));
        for whole in ["r/LampLight", "---\n[Part 2](http://x)", "", "\n"] {
            assert_eq!(split(whole), (whole, None));
        }
        assert_eq!(split("\u{e9}\nr/LampLight").0, "\u{e9}");
    }
}
