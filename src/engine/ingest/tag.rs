//! Submission tags: the leading tag of a title, or the flair, decides whether a submission is a prompt.

/// The tags of submissions that ask for stories.
pub const PROMPT_TAGS: [&str; 8] = ["WP", "SP", "EU", "CW", "TT", "RF", "IP", "MP"];

/// Tags of r/WritingPrompts submissions that do not ask for stories.
const OTHER_TAGS: [&str; 12] = [
    "OT",
    "PI",
    "CC",
    "PM",
    "MOD",
    "META",
    "MODPOST",
    "OFF TOPIC",
    "PROMPT ME",
    "PROMPT INSPIRED",
    "CONTEST",
    "NEWS",
];

/// Flairs that replace a missing tag.
const FLAIRS: [(&str, &str); 14] = [
    ("writing prompt", "WP"),
    ("simple prompt", "SP"),
    ("established universe", "EU"),
    ("constrained writing", "CW"),
    ("theme thursday", "TT"),
    ("reality fiction", "RF"),
    ("image prompt", "IP"),
    ("media prompt", "MP"),
    ("off topic", "OT"),
    ("prompt inspired", "PI"),
    ("constructive criticism", "CC"),
    ("prompt me", "PM"),
    ("moderator post", "MOD"),
    ("meta", "META"),
];

/// A title without its leading tags, and its first known tag.
#[derive(Debug, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// The first known tag in capitals, or else the tag for the flair.
    pub tag: Option<String>,
    /// The title without its leading tags.
    pub title: &'a str,
}

/// Splits the leading tags off a title. Brackets without a known tag belong to the title; `prompt_tags`
/// are known in addition to the built-in tags.
///
/// ```
/// use polyphony_engine::ingest::tag::split;
/// let tagged = split("[ wp ] [EU] The sea left.", None, &[]);
/// assert_eq!(tagged.tag.as_deref(), Some("WP"));
/// assert_eq!(tagged.title, "The sea left.");
/// assert_eq!(split("[Redacted] report", Some("Writing Prompt"), &[]).title, "[Redacted] report");
/// ```
pub fn split<'a>(title: &'a str, flair: Option<&str>, prompt_tags: &[String]) -> Tagged<'a> {
    let mut rest = title.trim();
    let mut tag = None;
    while let Some((leading_tag, after)) = leading(rest, prompt_tags) {
        tag.get_or_insert(leading_tag);
        rest = after;
    }
    let tag = tag.or_else(|| {
        let flair = flair?.trim().to_lowercase();
        let (_, tag) = FLAIRS.iter().find(|(name, _)| *name == flair)?;
        Some((*tag).to_owned())
    });
    Tagged { tag, title: rest }
}

fn leading<'a>(title: &'a str, prompt_tags: &[String]) -> Option<(String, &'a str)> {
    let (inside, after) = title.strip_prefix('[')?.split_once(']')?;
    let tag = inside.trim().to_uppercase();
    let is_known = PROMPT_TAGS.contains(&tag.as_str())
        || OTHER_TAGS.contains(&tag.as_str())
        || prompt_tags.contains(&tag);
    is_known.then(|| (tag, after.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_without_a_tag_uses_the_flair() {
        let tagged = split("The last bus", Some("Simple Prompt"), &[]);
        assert_eq!(tagged.tag.as_deref(), Some("SP"));
        assert_eq!(split("The last bus", Some("Weather"), &[]).tag, None);
        assert_eq!(split("The last bus", None, &[]).tag, None);
    }

    #[test]
    fn the_first_tag_decides() {
        let tagged = split("[OT] [WP] print_message", None, &[]);
        assert_eq!(
            (tagged.tag.as_deref(), tagged.title),
            (Some("OT"), "print_message")
        );
        assert_eq!(split("[WP", None, &[]).title, "[WP");
        assert_eq!(split("[WP]", None, &[]).title, "");
    }

    #[test]
    fn custom_prompt_tags_are_recognised() {
        let tags = ["SEUS".to_owned()];
        assert_eq!(split("[Seus] Fire", None, &tags).title, "Fire");
    }
}
