//! Decompression: a zstd, gzip or plain file as bytes or as blocks of complete lines, without a UTF-8
//! BOM.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::encoding::SkipBom;
use crate::hash::{Sha256, hex, sha256_file};
use crate::read_failure::{OutOfMemory, ReadFailure};
use crate::{Error, Result};

/// The approximate size of a block of lines, in bytes.
const BLOCK: usize = 1 << 20;

/// The maximum length of a line in bytes. A longer line is truncated, so that it counts as malformed.
const LONGEST_LINE: usize = 64 << 20;

/// The maximum zstd window, as a power of two: dumps use up to 2^31 bytes; zstd's default limit is
/// 2^27.
const ZSTD_WINDOW_LOG: u32 = 31;

/// A block of complete lines of a file.
#[derive(Debug)]
pub struct LineBlock {
    /// The number of the first line, from 1.
    pub first_line: i64,
    /// The lines, including their line ends.
    pub bytes: Vec<u8>,
}

impl LineBlock {
    /// The non-blank lines with their line numbers.
    pub fn lines(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let ends = memchr::memchr_iter(b'\n', &self.bytes).chain([self.bytes.len()]);
        let mut from = 0;
        ends.zip(self.first_line..)
            .filter_map(move |(end, number)| {
                let line = self.bytes.get(from..end)?.trim_ascii();
                from = end + 1;
                (!line.is_empty()).then_some((number, line))
            })
    }
}

/// The result of reading a file to its end: its hash, and whether it was complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOutcome {
    /// The SHA-256 of the file as stored on disk (compressed), hex.
    pub sha256: String,
    /// Why the file counts as truncated; `None` for a complete file.
    pub truncated: Option<String>,
}

impl ReadOutcome {
    /// Fails for a truncated file, for callers that need the complete file.
    ///
    /// # Errors
    /// When the file is truncated.
    pub fn require_complete(self, path: &Path) -> Result<Self> {
        match self.truncated {
            None => Ok(self),
            Some(why) => {
                let message = format!("is truncated ({why})");
                Err(Error::input(path, message, "fetch it again"))
            }
        }
    }
}

/// Iterator over a file's blocks of lines.
pub struct LineBlocks {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    failure: ReadFailure,
    hasher: Arc<Mutex<Sha256>>,
    carry: Vec<u8>,
    next_line: i64,
    over_long: bool,
    done: bool,
    truncated: Option<String>,
}

/// An opened file with its decompressed bytes.
pub struct Decompressed {
    path: PathBuf,
    /// Reader of the decompressed bytes.
    pub reader: Box<dyn Read + Send>,
    /// Whether reading has failed; to be checked after each use of the reader that ends at an error.
    pub failure: ReadFailure,
    hasher: Arc<Mutex<Sha256>>,
}

/// Opens a file: zstd (any window size, several frames), gzip (several members) or plain, detected from
/// its first bytes. `position` is updated with the number of compressed bytes read so far.
///
/// # Errors
/// When the file cannot be read, is empty, or is not compressed as its name says.
pub fn open(path: &Path, position: &Arc<AtomicU64>) -> Result<Decompressed> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    decompressed(path, file, position)
}

/// The first bytes of a file, decompressed; fewer for a truncated file, which reading all of it reports.
///
/// # Errors
/// As [`open`], and when reading fails.
pub fn start(path: &Path, bytes: u64) -> Result<Vec<u8>> {
    let opened = open(path, &Arc::default())?;
    let mut start = Vec::new();
    drop(opened.reader.take(bytes).read_to_end(&mut start));
    opened.failure.check()?;
    Ok(start)
}

/// The bytes of `file`, which may be compressed; `path` is its name.
fn decompressed(
    path: &Path,
    mut file: impl Read + Send + 'static,
    position: &Arc<AtomicU64>,
) -> Result<Decompressed> {
    let failure = ReadFailure::new(path);
    let mut magic = Vec::new();
    Read::by_ref(&mut file)
        .take(4)
        .read_to_end(&mut magic)
        .map_err(Error::io("read", path))?;
    if magic.is_empty() {
        return Err(Error::input(
            path,
            "is empty",
            "leave it out, or fetch it again",
        ));
    }
    let hasher = Arc::new(Mutex::new(Sha256::new()));
    let hashing = Hashing {
        inner: io::Cursor::new(magic.clone()).chain(file),
        hasher: Arc::clone(&hasher),
        position: Arc::clone(position),
        failure: failure.clone(),
    };
    let buffered = BufReader::with_capacity(BLOCK, hashing);
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    // Magic numbers of a zstd frame, of a zstd skippable frame (0x184D2A50 to 0x184D2A5F), and of gzip.
    let is_zstd = magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (magic.len() == 4 && magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18]);
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read + Send> = if is_zstd {
        let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(Error::io("read", path))?;
        decoder
            .window_log_max(ZSTD_WINDOW_LOG)
            .map_err(Error::io("read", path))?;
        let failure = failure.clone();
        Box::new(SkipBom::new(OutOfMemory { decoder, failure }))
    } else if is_gzip {
        Box::new(SkipBom::new(flate2::bufread::MultiGzDecoder::new(buffered)))
    } else if matches!(extension.as_str(), "zst" | "gz") {
        return Err(Error::input(
            path,
            format!("is not a .{extension} file: its first bytes are not those of one"),
            "fetch it again, or rename it if it is not compressed",
        ));
    } else {
        // No buffered reader: blocks are read directly, a buffer would cost one more copy.
        Box::new(SkipBom::new(buffered.into_inner()))
    };
    Ok(Decompressed {
        path: path.to_path_buf(),
        reader,
        failure,
        hasher,
    })
}

impl Decompressed {
    /// Iterator over the blocks of lines of this file.
    pub fn lines(self) -> LineBlocks {
        LineBlocks {
            path: self.path,
            reader: self.reader,
            failure: self.failure,
            hasher: self.hasher,
            carry: Vec::with_capacity(2 * BLOCK),
            next_line: 1,
            over_long: false,
            done: false,
            truncated: None,
        }
    }
}

impl LineBlocks {
    /// The read outcome, available after [`Iterator::next`] returned `None`.
    ///
    /// # Errors
    /// When reading failed, as on a failing disk or without memory, or when a file that is damaged in the middle
    /// can no longer be read to its end for the hash.
    pub fn outcome(mut self) -> Result<ReadOutcome> {
        self.failure.check()?;
        if let Some(why) = self.truncated {
            // The bytes after the damage were not decompressed, but belong to the file's hash.
            let sha256 = sha256_file(&self.path)?;
            return Ok(ReadOutcome {
                sha256,
                truncated: Some(why),
            });
        }
        // Bytes after the last frame belong to the file's hash, too.
        drop(io::copy(&mut self.reader, &mut io::sink()));
        self.failure.check()?;
        let hasher = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ReadOutcome {
            sha256: hex(&hasher.clone().finalize()),
            truncated: None,
        })
    }

    /// Reads until a block is full; false at the end of the input.
    fn fill(&mut self) -> bool {
        let from = self.carry.len();
        self.carry.resize(from + BLOCK, 0);
        let mut filled = from;
        while filled < self.carry.len() {
            match self.reader.read(&mut self.carry[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.truncated = Some(error.to_string());
                    break;
                }
            }
        }
        let full = filled == self.carry.len();
        self.carry.truncate(filled);
        full
    }

    fn block(&mut self, bytes: Vec<u8>) -> LineBlock {
        let first_line = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &bytes).count() as i64;
        LineBlock { first_line, bytes }
    }
}

impl Iterator for LineBlocks {
    type Item = LineBlock;

    fn next(&mut self) -> Option<LineBlock> {
        loop {
            if self.done {
                return None;
            }
            if !self.fill() {
                self.done = true;
                let bytes = std::mem::take(&mut self.carry);
                if self.truncated.is_none() && ends_within_an_object(&bytes) {
                    self.truncated = Some("its last line does not end".to_owned());
                }
                if self.over_long && memchr::memchr(b'\n', &bytes).is_none() {
                    return None;
                }
                return (!bytes.is_empty()).then(|| self.block(bytes));
            }
            if self.over_long {
                // Skip the rest of the truncated line, up to its line end.
                let Some(end) = memchr::memchr(b'\n', &self.carry) else {
                    self.carry.clear();
                    continue;
                };
                self.carry.drain(..end);
                self.over_long = false;
            }
            if let Some(end) = memchr::memrchr(b'\n', &self.carry) {
                let rest = self.carry.split_off(end + 1);
                let bytes = std::mem::replace(&mut self.carry, rest);
                self.carry.reserve(2 * BLOCK);
                return Some(self.block(bytes));
            }
            if self.carry.len() > LONGEST_LINE {
                self.over_long = true;
                let bytes = std::mem::take(&mut self.carry);
                return Some(self.block(bytes));
            }
        }
    }
}

/// Whether the file ends within a JSON object, as after an incomplete copy. A complete file may lack
/// the last line end, but not the closing bracket.
fn ends_within_an_object(bytes: &[u8]) -> bool {
    let last = bytes.rsplit(|byte| *byte == b'\n').next();
    let last = last.unwrap_or_default().trim_ascii();
    last.starts_with(b"{") && !last.ends_with(b"}")
}

/// Reader that hashes and counts the bytes it passes on.
struct Hashing<R> {
    inner: R,
    hasher: Arc<Mutex<Sha256>>,
    position: Arc<AtomicU64>,
    failure: ReadFailure,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        let read = read.map_err(|error| self.failure.keep(error))?;
        let mut hasher = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        hasher.update(&buffer[..read]);
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read(name: &str, bytes: &[u8]) -> Result<(Vec<String>, ReadOutcome)> {
        let (_folder, path) = write(name, bytes);
        let mut lines = open(&path, &Arc::default())?.lines();
        let texts = lines
            .by_ref()
            .flat_map(|block| {
                block
                    .lines()
                    .map(|(number, line)| format!("{number}:{}", String::from_utf8_lossy(line)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let outcome = lines.outcome()?;
        Ok((texts, outcome))
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(31).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_gives_the_same_lines() {
        let expected = ["1:a", "3:b", "4:c"];
        let plain = b"a\n\r\nb \nc";
        assert_eq!(read("x.jsonl", plain).unwrap().0, expected);
        assert_eq!(read("x.zst", &zstd(plain)).unwrap().0, expected);
        let mut frames = zstd(b"a\n\n");
        frames.extend(zstd(b"b\nc\n"));
        assert_eq!(read("x.zst", &frames).unwrap().0, expected);
        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let mut members = gzip(b"a\n\nb");
        members.extend(gzip(b"\nc\n"));
        let (lines, outcome) = read("x.gz", &members).unwrap();
        assert_eq!(lines, expected);
        assert_eq!(outcome.truncated, None);
        assert_eq!(outcome.sha256, hex(&Sha256::digest(&members)));
    }

    #[test]
    fn a_truncated_file_gives_its_lines_and_is_reported() {
        let text: String = (0..20_000)
            .map(|i| format!("line {}\n", i * 7919))
            .collect();
        let packed = zstd(text.as_bytes());
        let (lines, outcome) = read("x.zst", &packed[..packed.len() / 2]).unwrap();
        assert!(!lines.is_empty() && lines.len() < 20_000);
        assert!(outcome.truncated.is_some());
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 200].fill(0);
        let (_, outcome) = read("x.zst", &damaged).unwrap();
        assert!(outcome.truncated.is_some());
        assert_eq!(outcome.sha256, hex(&Sha256::digest(&damaged)));
    }

    /// Reader that fails once after `good` bytes, and then goes on.
    struct Flaky {
        bytes: io::Cursor<Vec<u8>>,
        good: u64,
        error: Option<io::Error>,
    }

    impl Read for Flaky {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let left = self.good - self.bytes.position().min(self.good);
            if left == 0
                && let Some(error) = self.error.take()
            {
                return Err(error);
            }
            let most = match self.error {
                Some(_) => buffer.len().min(left as usize),
                None => buffer.len(),
            };
            self.bytes.read(&mut buffer[..most])
        }
    }

    #[test]
    fn a_passing_read_error_is_an_error_and_not_the_end_of_the_file() {
        let text: String = (0..20_000)
            .map(|i| format!("line {}\n", i * 7919))
            .collect();
        // EIO and ENOMEM, of a plain and of a compressed file, in the middle and after its last byte.
        for (raw, bytes) in [5, 12].into_iter().flat_map(|raw| {
            let plain = text.clone().into_bytes();
            [(raw, zstd(&plain)), (raw, plain)]
        }) {
            for good in [bytes.len() as u64 / 2, bytes.len() as u64] {
                let flaky = Flaky {
                    bytes: io::Cursor::new(bytes.clone()),
                    good,
                    error: Some(io::Error::from_raw_os_error(raw)),
                };
                let opened = decompressed(Path::new("x.jsonl"), flaky, &Arc::default());
                let mut lines = opened.unwrap().lines();
                lines.by_ref().for_each(drop);
                let message = lines.outcome().unwrap_err().to_string();
                assert!(message.starts_with("cannot read x.jsonl"), "{message}");
            }
        }
    }

    #[test]
    fn an_incomplete_last_object_marks_the_file_as_truncated() {
        let outcome = |bytes: &[u8]| read("x.jsonl", bytes).unwrap().1;
        let incomplete = outcome(b"{\"a\":1}\n{\"b\":");
        assert_eq!(
            incomplete.truncated.as_deref(),
            Some("its last line does not end")
        );
        assert_eq!(
            incomplete.sha256,
            hex(&Sha256::digest(b"{\"a\":1}\n{\"b\":"))
        );
        for complete in [
            &b"{\"a\":1}\n{\"b\":2}"[..],
            b"{\"a\":1}\n",
            b"{\"a\":1} \n\n ",
        ] {
            assert_eq!(outcome(complete).truncated, None);
        }
    }

    #[test]
    fn line_numbers_continue_across_blocks() {
        let text: String = (0..200_000).map(|i| format!("{i:020}\n")).collect();
        let (lines, _) = read("x.jsonl", text.as_bytes()).unwrap();
        assert_eq!(lines.len(), 200_000);
        assert_eq!(lines[199_999], "200000:00000000000000199999");
    }

    #[test]
    fn empty_and_misnamed_files_are_errors() {
        assert!(
            read("x.zst", b"")
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
        assert!(
            read("x.zst", b"{}")
                .unwrap_err()
                .to_string()
                .contains("is not a .zst file")
        );
    }
}
