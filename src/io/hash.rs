//! Hashes: SHA-256 of bytes and files, FNV-1a, short ids.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::{Error, Result};

/// The read buffer, in bytes.
const BLOCK: usize = 1 << 20;

/// Incremental SHA-256. It uses ring, which has the processor's SHA instructions: files of many
/// gigabytes are hashed.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// A hash of no bytes so far.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The SHA-256 of `bytes`.
    pub fn digest(bytes: impl AsRef<[u8]>) -> [u8; 32] {
        whole(digest(&SHA256, bytes.as_ref()).as_ref())
    }

    /// Appends bytes to the input.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The hash of all appended bytes.
    pub fn finalize(self) -> [u8; 32] {
        whole(self.0.finish().as_ref())
    }
}

fn whole(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

/// The SHA-256 of a file in hex.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    Ok(hex(&sha256_file_digest(path)?))
}

/// The SHA-256 of a file as bytes.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file_digest(path: &Path) -> Result<[u8; 32]> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BLOCK];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// The id of a file as a git blob, hex: the SHA-1 of its size and its content. The hub names small files by it.
///
/// # Errors
/// When the file cannot be read.
pub fn git_blob_id(path: &Path) -> Result<String> {
    let content = std::fs::read(path).map_err(Error::io("read", path))?;
    let mut hasher = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hasher.update(format!("blob {}\0", content.len()).as_bytes());
    hasher.update(&content);
    Ok(hex(hasher.finish().as_ref()))
}

/// The SHA-256 of several texts. The boundaries between the texts are part of the hash.
pub fn sha256_parts(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// Short id: the first 16 hex digits of the SHA-256 of several texts, for rows without an id of their own.
pub fn short_id(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    hex(&hasher.finalize()[..8])
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// FNV-1a hash, 64 bits (Fowler, Noll, Vo). Not cryptographic.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64: mixes a hash so that every input bit affects all output bits.
pub fn mix64(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | git hash-object --stdin`.
    #[test]
    fn a_git_blob_has_the_id_that_git_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        let id = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(git_blob_id(&path).unwrap(), id);
    }

    /// The examples of FIPS 180-2, appendix B.
    #[test]
    fn hashes_match_the_fips_180_2_examples() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&Sha256::digest("abc")), abc);
        let mut hasher = Sha256::new();
        hasher.update("abcdbcdecdefdefgefghfghighij");
        hasher.update("hijkijkljklmklmnlmnomnopnopq");
        let long = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
        assert_eq!(hex(&hasher.finalize()), long);
        assert_ne!(sha256_parts(&["a", "bc"]), sha256_parts(&["ab", "c"]));
        assert_eq!(short_id(&["a", "b"]), hex(&Sha256::digest("a\0b\0"))[..16]);
    }
}
