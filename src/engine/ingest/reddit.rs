//! Reddit dumps: a line of JSON to a prompt, a response, or a quarantined row.

use std::collections::HashSet;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::lenient::{Flag, Integer, Text};
use super::reason::Reason;
use super::table_builders::{Prompt, QuarantinedRow, Response, TableBuilders};
use super::{footer, tag, text};

/// The notices that moderators' bots post under every prompt (DiversityTuning,
/// `1_data_prep_filtering.py`).
const NOTICES: [&str; 2] = ["**Welcome to the Prompt!**", "**Off-Topic Discussion**"];

/// The filter of a dump.
pub struct DumpFilter {
    subreddit: String,
    named: Option<Regex>,
    prompt_tags: Vec<String>,
    keep_footers: bool,
}

/// The ids of the prompts in the store, as numbers (Reddit ids are base 36).
pub type KnownPrompts = HashSet<u64>;

impl DumpFilter {
    /// A filter for rows of `subreddit`, with prompts that have one of `prompt_tags`. Unless
    /// `keep_footers` is set, the footers of stories are cut off.
    pub fn new(subreddit: &str, prompt_tags: &[String], keep_footers: bool) -> Self {
        Self {
            subreddit: subreddit.to_owned(),
            named: RegexBuilder::new(&regex::escape(subreddit))
                .case_insensitive(true)
                .build()
                .ok(),
            prompt_tags: prompt_tags.to_vec(),
            keep_footers,
        }
    }

    /// A prefilter without parsing: whether a line may belong to the subreddit. Most lines of a monthly
    /// dump do not. A truncated line passes, so that it is counted as malformed.
    fn may_match(&self, line: &[u8]) -> bool {
        self.last_subreddit_matches(line)
            || self.named.as_ref().is_none_or(|named| named.is_match(line))
            || line.last() != Some(&b'}')
    }

    /// Whether the last `subreddit` field of a line is this one. Dumps sort their fields, so it is near
    /// the end and the text before it need not be searched.
    fn last_subreddit_matches(&self, line: &[u8]) -> bool {
        const FIELD: &[u8] = b"\"subreddit\":\"";
        let name = self.subreddit.as_bytes();
        memchr::memmem::rfind(line, FIELD)
            .and_then(|at| line.get(at + FIELD.len()..)?.get(..name.len()))
            .is_some_and(|value| value.eq_ignore_ascii_case(name))
    }

    fn is_prompt_tag(&self, tag: &str) -> bool {
        self.prompt_tags.iter().any(|prompt_tag| prompt_tag == tag)
    }
}

/// A submission as stored by Reddit; field types changed over the years.
#[derive(Deserialize)]
struct Submission<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow, default)]
    selftext: Text<'a>,
    #[serde(borrow, default)]
    subreddit: Text<'a>,
    #[serde(borrow, default)]
    link_flair_text: Text<'a>,
    #[serde(borrow, default)]
    removed_by_category: Text<'a>,
    #[serde(default)]
    score: Integer,
    #[serde(default)]
    created_utc: Integer,
    #[serde(default)]
    retrieved_on: Integer,
    #[serde(default)]
    retrieved_utc: Integer,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

/// A comment as stored by Reddit.
#[derive(Deserialize)]
struct Comment<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    link_id: Text<'a>,
    #[serde(borrow)]
    parent_id: Text<'a>,
    #[serde(borrow)]
    body: Text<'a>,
    #[serde(borrow, default)]
    author: Text<'a>,
    #[serde(borrow, default)]
    subreddit: Text<'a>,
    #[serde(borrow, default)]
    distinguished: Text<'a>,
    #[serde(default)]
    removed: Flag,
    #[serde(default)]
    score: Integer,
    #[serde(default)]
    created_utc: Integer,
    #[serde(default)]
    retrieved_on: Integer,
    #[serde(default)]
    retrieved_utc: Integer,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

/// The metadata of Arctic Shift's second retrieval, since 2023-11.
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(default)]
    retrieved_2nd_on: Integer,
    #[serde(default)]
    was_deleted_later: Flag,
    #[serde(borrow, default)]
    removal_type: Text<'a>,
}

impl Meta<'_> {
    fn is_removed(&self) -> bool {
        self.was_deleted_later.0 || !self.removal_type.as_str().is_empty()
    }
}

/// Parses a line of a file of submissions and adds it to `rows`.
pub fn submission(line: i64, json: &[u8], filter: &DumpFilter, rows: &mut TableBuilders) {
    if !filter.may_match(json) {
        rows.skipped += 1;
        return;
    }
    let Ok(raw) = serde_json::from_slice::<Submission<'_>>(json) else {
        return malformed(line, json, rows);
    };
    if !raw
        .subreddit
        .as_str()
        .eq_ignore_ascii_case(&filter.subreddit)
    {
        rows.skipped += 1;
        return;
    }
    let (Some(id), Some(title)) = (own_id(&raw.id, &raw.name), raw.title.0.as_deref()) else {
        return malformed(line, json, rows);
    };
    let retrieved_at = latest(raw.retrieved_on, raw.retrieved_utc, raw.meta.as_ref());
    let title = text::clean(title);
    let body = text::clean(raw.selftext.as_str());
    let tagged = tag::split(
        &title,
        raw.link_flair_text.0.as_deref(),
        &filter.prompt_tags,
    );
    let removed = !raw.removed_by_category.as_str().is_empty()
        || raw.meta.as_ref().is_some_and(Meta::is_removed)
        || is_removed(&body);
    let reason = match tagged.tag.as_deref() {
        None => Some(Reason::UntaggedSubmission),
        Some(tag) if !filter.is_prompt_tag(tag) => Some(Reason::OffTopicSubmission),
        _ if removed => Some(Reason::DeletedOrRemoved),
        _ if tagged.title.is_empty() && body.is_empty() => Some(Reason::EmptyText),
        _ => None,
    };
    if let Some(reason) = reason {
        let refusal = QuarantinedRow {
            reason,
            id: Some(id),
            retrieved_at,
            text: &title,
        };
        return rows.quarantine(line, &refusal);
    }
    let prompt = Prompt {
        id,
        tag: tagged.tag.as_deref(),
        title: tagged.title,
        body: &body,
        score: raw.score.0.map(|votes| votes as f64),
        created_at: raw.created_utc.0,
        retrieved_at,
    };
    rows.prompt(line, &prompt);
}

/// Parses a line of a file of comments and adds it to `rows`.
pub fn comment(
    line: i64,
    json: &[u8],
    filter: &DumpFilter,
    known: &KnownPrompts,
    rows: &mut TableBuilders,
) {
    if !filter.may_match(json) {
        rows.skipped += 1;
        return;
    }
    let Ok(raw) = serde_json::from_slice::<Comment<'_>>(json) else {
        return malformed(line, json, rows);
    };
    if !raw
        .subreddit
        .as_str()
        .eq_ignore_ascii_case(&filter.subreddit)
    {
        rows.skipped += 1;
        return;
    }
    let (Some(id), Some(prompt_id), Some(body)) = (
        own_id(&raw.id, &raw.name),
        raw.link_id.as_str().strip_prefix("t3_"),
        raw.body.0.as_deref(),
    ) else {
        return malformed(line, json, rows);
    };
    let retrieved_at = latest(raw.retrieved_on, raw.retrieved_utc, raw.meta.as_ref());
    let reason = match refuses(&raw, body) {
        Some(reason) => Err(reason),
        None => raw
            .score
            .0
            .map(|votes| votes as f64)
            .ok_or(Reason::NullScore),
    };
    let score = match reason {
        Ok(score) => score,
        Err(reason) => {
            let refusal = QuarantinedRow {
                reason,
                id: Some(id),
                retrieved_at,
                text: body,
            };
            return rows.quarantine(line, &refusal);
        }
    };
    let body = text::clean(body);
    if body.is_empty() {
        let refusal = QuarantinedRow {
            reason: Reason::EmptyText,
            id: Some(id),
            retrieved_at,
            text: "",
        };
        return rows.quarantine(line, &refusal);
    }
    let (story, footer) = footer::split_unless(filter.keep_footers, &body);
    let response = Response {
        id,
        prompt_id,
        text: story,
        score,
        created_at: raw.created_utc.0,
        retrieved_at,
        footer,
        author: Some(raw.author.as_str()).filter(|author| !matches!(*author, "" | "[deleted]")),
    };
    if number(prompt_id).is_some_and(|number| known.contains(&number)) {
        rows.response(line, &response);
    } else {
        rows.pending(line, &response);
    }
}

/// The number of a base-36 id.
pub fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 36).ok()
}

/// The reasons to reject a text that do not depend on other rows.
fn refuses(raw: &Comment<'_>, body: &str) -> Option<Reason> {
    let author = raw.author.as_str();
    let is_bot = author == "AutoModerator"
        || ["Bot", "_bot", "-bot"]
            .iter()
            .any(|end| author.ends_with(end));
    if is_removed(body) || raw.removed.0 || raw.meta.as_ref().is_some_and(Meta::is_removed) {
        Some(Reason::DeletedOrRemoved)
    } else if raw.parent_id.as_str() != raw.link_id.as_str() {
        Some(Reason::Reply)
    } else if body.contains("this submission has been removed") {
        Some(Reason::RemovalNotice)
    } else if is_bot
        || matches!(raw.distinguished.as_str(), "moderator" | "admin")
        || NOTICES.iter().any(|notice| body.contains(notice))
    {
        Some(Reason::ModeratorNotice)
    } else {
        None
    }
}

/// The placeholders that Reddit leaves for a deleted or removed text.
fn is_removed(text: &str) -> bool {
    let text = text.trim();
    matches!(text, "[deleted]" | "[removed]" | "[UNICODE ENCODE ERROR]")
        || text.to_ascii_lowercase().starts_with("[ removed by reddit")
}

fn own_id<'a>(id: &'a Text<'_>, name: &'a Text<'_>) -> Option<&'a str> {
    let id = match id.0.as_deref() {
        Some(id) => id,
        None => name.0.as_deref()?.get(3..)?,
    };
    (!id.is_empty()).then_some(id)
}

fn latest(on: Integer, utc: Integer, meta: Option<&Meta<'_>>) -> Option<i64> {
    on.0.max(utc.0)
        .max(meta.and_then(|meta| meta.retrieved_2nd_on.0))
}

fn malformed(line: i64, json: &[u8], rows: &mut TableBuilders) {
    let refusal = QuarantinedRow {
        reason: Reason::MalformedLine,
        id: None,
        retrieved_at: None,
        text: &String::from_utf8_lossy(json),
    };
    rows.quarantine(line, &refusal);
}
