//! Compression ratio: `compression_ratio(text)`, the size of the texts over their size after gzip.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::measure::{Column, Direction, Function, Group, Measure, SetSize};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "compression_ratio",
    function: Function::Texts(|texts, _| compression_ratio(texts)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "Bytes over bytes after gzip of the texts joined by spaces.",
    columns: &[Column::new("compression_ratio", "Compression ratio")],
};

/// The number of bytes of the texts, joined by spaces, over their number after gzip at level 9; a higher
/// ratio means more repetition (Shaib et al. 2024; Python package `diversity`, `compression.py`). `None`
/// if the texts have no byte.
///
/// The compressed size differs from zlib's by a few bytes: encoders are not identical.
pub fn compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / packed as f64)
}

/// The number of bytes of the texts joined by spaces, before and after gzip. `None` if there is no byte.
pub(super) fn sizes(texts: &[&str]) -> Option<(usize, usize)> {
    let joined = texts.join(" ");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(joined.as_bytes()).ok()?;
    let packed = encoder.finish().ok()?.len();
    (!joined.is_empty()).then_some((joined.len(), packed))
}
