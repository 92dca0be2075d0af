//! Progress: long jobs report position, rate and messages; the program displays them.

/// Receiver of progress reports. Libraries report; the CLI draws the progress bar.
pub trait Progress: Sync {
    /// Starts a job of `total` units; `None` when the total is unknown.
    fn start(&self, what: &str, total: Option<u64>, unit: Unit);
    /// Sets the position: `position` units of the current job are done.
    fn set_position(&self, position: u64);
    /// Sets the position where earlier, interrupted work left off: it does not count for the rate.
    fn resume(&self, position: u64) {
        self.set_position(position);
    }
    /// Sets the rate as text, in the job's own unit: `1,234 tokens/s`.
    fn set_rate(&self, rate: &str);
    /// Finishes the current job.
    fn finish(&self);
    /// Prints a line above the progress bar.
    fn message(&self, line: &str);
}

/// The unit of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Rows of a table.
    Rows,
    /// Steps of a training run.
    Steps,
}

/// Progress receiver that discards all reports.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _total: Option<u64>, _unit: Unit) {}
    fn set_position(&self, _position: u64) {}
    fn set_rate(&self, _rate: &str) {}
    fn finish(&self) {}
    fn message(&self, _line: &str) {}
}
