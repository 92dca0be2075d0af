//! `compression_ratio(text)`: how much smaller do the texts get when gzip may point back at what it
//! has seen?

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes over bytes after gzip at level 9, of the texts joined by spaces: higher is more
/// repetitive (Shaib et al. 2024; the package `diversity`, `compression.py`). None without a byte.
///
/// Encoders differ by a few bytes, and so does this from zlib's.
pub fn compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / packed as f64)
}

/// What the package `diversity` gives: it packs twice, and its second header weighs 34 bytes, a
/// quarter of a short text.
pub fn reference_compression_ratio(texts: &[&str]) -> Option<f64> {
    let (bytes, packed) = sizes(texts)?;
    Some(bytes as f64 / (packed + 34) as f64)
}

fn sizes(texts: &[&str]) -> Option<(usize, usize)> {
    let joined = texts.join(" ");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(joined.as_bytes()).ok()?;
    let packed = encoder.finish().ok()?.len();
    (!joined.is_empty()).then_some((joined.len(), packed))
}
