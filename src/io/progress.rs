//! How does long work tell how far it is? It reports here; who shows it is not its business.

/// Follows long work. The engine never draws: the binary does.
pub trait Progress: Sync {
    /// A stretch of work begins: `total` steps of `unit`, where known.
    fn begin(&self, what: &str, total: Option<u64>, unit: Unit);
    /// `position` steps of the current stretch are done.
    fn at(&self, position: u64);
    /// How fast it goes, in the work's own measure, as `1,234 tokens/s`.
    fn rate(&self, rate: &str);
    /// The current stretch is done.
    fn end(&self);
    /// Something worth a line of its own.
    fn say(&self, line: &str);
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
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: Option<u64>, _unit: Unit) {}
    fn at(&self, _position: u64) {}
    fn rate(&self, _rate: &str) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
}
