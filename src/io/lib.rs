//! I/O: errors, atomic writes, locks, hashing, random numbers, progress, decompression and the row
//! reader.

/// Atomic writes and folder locks.
pub mod atomic;
/// Files beside an output.
pub mod beside;
/// JSON files with a checksum.
pub mod checksum;
/// Column mappings: `ROLE=COLUMN`.
pub mod columns;
/// Ranks, Pearson's r, Spearman's rho.
pub mod correlation;
mod encoding;
pub mod error;
/// File formats by file name.
pub mod format;
/// SHA-256, FNV-1a.
pub mod hash;
/// Decompressed files in blocks of lines.
pub mod lines;
/// Panics of other libraries as errors.
pub mod panics;
/// Progress of long work.
pub mod progress;
/// Pseudo-random numbers.
pub mod random;
/// Failures of the system while a file is read.
pub mod read_failure;
pub mod records;

/// SVG plots.
pub mod svg;

pub use error::{Error, Result};
