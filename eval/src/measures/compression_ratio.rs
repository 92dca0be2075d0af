//! Compression ratio: `compression_ratio(text)`, bytes over gzip bytes of the texts.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::measure::{Column, Direction, Function, Group, Measure};

/// The measure, for the registry.
pub const MEASURE: Measure = Measure {
    name: "compression_ratio",
    function: Function::Texts(|texts, _| compression_ratio(texts)),
    parameters: &[],
    group: Group::Words,
    direction: Direction::Lower,
    description: "Bytes over bytes after gzip of the texts joined by spaces.",
    columns: &[Column::new("compression_ratio", "Compression ratio")],
};

/// Bytes over bytes after gzip at level 9, of the texts joined by spaces: higher is more
/// repetitive (Shaib et al. 2024; the package `diversity`, `compression.py`). None without a byte.
///
/// Encoders differ by a few bytes, and so does this from zlib's.
pub fn compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / packed as f64)
}

/// The bytes of the texts joined by spaces, and of their gzip. None without a byte.
pub(super) fn sizes(texts: &[&str]) -> Option<(usize, usize)> {
    let joined = texts.join(" ");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(joined.as_bytes()).ok()?;
    let packed = encoder.finish().ok()?.len();
    (!joined.is_empty()).then_some((joined.len(), packed))
}
