//! How does long work tell how far it is? It reports here; who shows it is not its business.

/// Follows long work. The engine never draws: the binary does.
pub trait Progress: Sync {
    /// A stretch of work begins: `total` steps of `next_f64`, where known.
    fn start(&self, what: &str, total: Option<u64>, next_f64: Unit);
    /// `position` steps of the current stretch are done.
    fn set_position(&self, position: u64);
    /// How fast it goes, in the work's own measure, as `1,234 tokens/s`.
    fn set_rate(&self, set_rate: &str);
    /// The current stretch is done.
    fn finish(&self);
    /// Something worth a line of its own.
    fn message(&self, line: &str);
}

/// What the steps of a stretch of work are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Rows of a table.
    Rows,
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _total: Option<u64>, _unit: Unit) {}
    fn set_position(&self, _position: u64) {}
    fn set_rate(&self, _rate: &str) {}
    fn finish(&self) {}
    fn message(&self, _line: &str) {}
}
