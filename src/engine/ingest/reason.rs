//! Why is a row refused? Every reason, under the name that the quarantine shows.
//!
//! Comments that wait for their prompt get their reasons (`orphan`, `comment_on_off_topic`,
//! `comment_on_removed`) from `sql/00_quarantine.sql`: they depend on what else is in the store.

/// A reason for which a row is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The line is no JSON object with the fields that its kind needs.
    MalformedLine,
    /// The text was deleted or removed.
    DeletedOrRemoved,
    /// A comment on a comment, not a story.
    Reply,
    /// A moderator's note that a submission was removed.
    RemovalNotice,
    /// Written by a moderator, `AutoModerator` or another bot.
    ModeratorNotice,
    /// The votes were never recorded.
    NullScore,
    /// A submission whose tag is not one of the prompt tags.
    OffTopicSubmission,
    /// A submission with neither a known tag nor a known flair.
    UntaggedSubmission,
    /// A text without a single word.
    EmptyText,
    /// Another retrieval of the same id counts.
    Duplicate,
}

impl Reason {
    /// The name in the `reason` column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedLine => "malformed_line",
            Self::DeletedOrRemoved => "deleted_or_removed",
            Self::Reply => "reply",
            Self::RemovalNotice => "removal_notice",
            Self::ModeratorNotice => "moderator_notice",
            Self::NullScore => "null_score",
            Self::OffTopicSubmission => "off_topic_submission",
            Self::UntaggedSubmission => "untagged_submission",
            Self::EmptyText => "empty_text",
            Self::Duplicate => "duplicate",
        }
    }
}
