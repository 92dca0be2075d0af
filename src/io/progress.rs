//! Progress: long work reports its position, rate and messages; the program shows them.

/// Receives the progress of long work. Libraries report; the program draws.
pub trait Progress: Sync {
    /// Work of `total` units begins; `None` when the total is not known.
    fn start(&self, what: &str, total: Option<u64>, unit: Unit);
    /// `position` units of the current work are done.
    fn set_position(&self, position: u64);
    /// The rate in a unit of the work's own, as `1,234 tokens/s`.
    fn set_rate(&self, rate: &str);
    /// The current work is done.
    fn finish(&self);
    /// Shows a line above the progress.
    fn message(&self, line: &str);
}

/// The unit of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Rows of a table.
    Rows,
}

/// Discards all progress.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _total: Option<u64>, _unit: Unit) {}
    fn set_position(&self, _position: u64) {}
    fn set_rate(&self, _rate: &str) {}
    fn finish(&self) {}
    fn message(&self, _line: &str) {}
}
