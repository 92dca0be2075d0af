//! `compression_ratio_xz(text)`: how much smaller do the texts get when xz may point back at what it
//! has seen?

use std::io::Write as _;

use liblzma::write::XzEncoder;

/// The preset of Python's `lzma.open`.
const PRESET: u32 = 6;

/// Bytes over bytes after xz, of the texts joined by spaces: higher is more repetitive (the package
/// `diversity`, `compression.py`, algorithm `xz`). None without a byte.
pub fn compression_ratio_xz(texts: &[&str]) -> Option<f64> {
    let joined = texts.join(" ");
    let mut encoder = XzEncoder::new(Vec::new(), PRESET);
    encoder.write_all(joined.as_bytes()).ok()?;
    let packed = encoder.finish().ok()?.len();
    (!joined.is_empty()).then(|| joined.len() as f64 / packed as f64)
}
