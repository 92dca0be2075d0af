//! Compression ratio of the published code: `reference_compression_ratio(text)`.

use super::compression_ratio::sizes;
use super::measure::{Column, Direction, Function, Group, Measure, SetSize};

/// The entry in [`super::registry::MEASURES`].
pub const MEASURE: Measure = Measure {
    name: "reference_compression_ratio",
    function: Function::Texts(|texts, _| reference_compression_ratio(texts)),
    parameters: &[],
    group: Group::Words,
    size: SetSize::OfSet,
    direction: Direction::Lower,
    description: "What the paper's code gives: packed twice, which adds 34 bytes.",
    columns: &[Column::reference(
        "reference_compression_ratio",
        "Compression ratio, published code",
    )],
};

/// The value of the Python package `diversity`. It compresses twice; the second gzip header adds 34 bytes,
/// which is a quarter of the size of a short text.
pub fn reference_compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / (packed + 34) as f64)
}
