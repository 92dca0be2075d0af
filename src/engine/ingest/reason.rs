//! Quarantine reasons: every reason to reject a row, with its name in the `reason` column.
//!
//! Comments without a prompt in the store get their reasons (`orphan`, `comment_on_off_topic`,
//! `comment_on_removed`) from `sql/00_quarantine.sql`, because they depend on the store's other rows.

/// A reason to reject a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The line is not a JSON object with the required fields.
    MalformedLine,
    /// The text was deleted or removed.
    DeletedOrRemoved,
    /// A comment that replies to a comment, not to a submission.
    Reply,
    /// A moderator's notice that a submission was removed.
    RemovalNotice,
    /// Written by a moderator, `AutoModerator` or another bot.
    ModeratorNotice,
    /// No votes were recorded.
    NullScore,
    /// A submission whose tag is not a prompt tag.
    OffTopicSubmission,
    /// A submission without a known tag or flair.
    UntaggedSubmission,
    /// A text without any word.
    EmptyText,
    /// Another retrieval of the same id takes precedence.
    Duplicate,
}

impl Reason {
    /// The reason's name in the `reason` column.
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
