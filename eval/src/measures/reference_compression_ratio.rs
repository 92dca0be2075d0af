//! Compression ratio as published: `reference_compression_ratio(text)`.

use super::compression_ratio::sizes;
use super::measure::{Column, Direction, Function, Group, Measure};

/// The measure, for the registry.
pub const MEASURE: Measure = Measure {
    name: "reference_compression_ratio",
    function: Function::Texts(|texts, _| reference_compression_ratio(texts)),
    parameters: &[],
    group: Group::Words,
    direction: Direction::Lower,
    description: "What the paper's code gives: packed twice, which adds 34 bytes.",
    columns: &[Column::reference(
        "reference_compression_ratio",
        "Compression ratio, published code",
    )],
};

/// What the package `diversity` gives: it packs twice, and its second header weighs 34 bytes, a
/// quarter of a short text.
pub fn reference_compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / (packed + 34) as f64)
}
