//! Text encoding: skips a UTF-8 byte order mark (BOM) and detects unsupported encodings.

use std::io::{self, Read};

const UTF8_BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Reader that drops a UTF-8 byte order mark (BOM) at the start of its input.
pub(crate) struct SkipBom<R> {
    inner: R,
    at_start: bool,
}

impl<R> SkipBom<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            at_start: true,
        }
    }
}

impl<R: Read> Read for SkipBom<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.at_start || buffer.len() < UTF8_BOM.len() {
            return self.inner.read(buffer);
        }
        self.at_start = false;
        let mut filled = self.inner.read(buffer)?;
        while filled > 0 && filled < UTF8_BOM.len() {
            match self.inner.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if !buffer[..filled].starts_with(&UTF8_BOM) {
            return Ok(filled);
        }
        buffer.copy_within(UTF8_BOM.len()..filled, 0);
        match filled - UTF8_BOM.len() {
            0 => self.inner.read(buffer),
            rest => Ok(rest),
        }
    }
}

/// The rule that decides whether bytes that are not UTF-8 make a text file Latin-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// CSV: Latin-1 if some line is invalid UTF-8 and no line has valid non-ASCII UTF-8.
    Csv,
    /// JSON lines: as CSV, but the invalid line must also be a JSON object once decoded as Latin-1.
    /// Dumps contain corrupt lines, which are not a sign of another encoding.
    JsonLines,
}

/// The name of the unsupported encoding of a file with these first bytes; `None` for UTF-8.
pub(crate) fn unsupported(start: &[u8], judge: Judge) -> Option<&'static str> {
    if start.starts_with(&[0xff, 0xfe, 0, 0]) || start.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Some("UTF-32");
    }
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Some("UTF-16");
    }
    // Without a byte order mark: ASCII text in UTF-16 has a zero in every second byte.
    if let [a, b, c, d, ..] = start
        && matches!(
            (*a == 0, *b == 0, *c == 0, *d == 0),
            (true, false, true, false) | (false, true, false, true)
        )
    {
        return Some("UTF-16");
    }
    // The sample may end within a multi-byte character, so its last, incomplete line is not judged.
    let complete = memchr::memrchr(b'\n', start).map_or(start, |end| &start[..end]);
    let (mut valid, mut latin1) = (false, false);
    for line in complete.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => valid |= !line.is_ascii(),
            Err(error) => {
                let is_incomplete = error.error_len().is_none() && line.len() == start.len();
                latin1 |= !is_incomplete && (judge == Judge::Csv || is_latin1_json(line));
            }
        }
    }
    (latin1 && !valid).then_some("Latin-1 or Windows-1252")
}

fn is_latin1_json(line: &[u8]) -> bool {
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_utf8_bom_is_skipped_once() {
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            SkipBom::new(bytes).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(b"\xef\xbb\xbfab"), "ab");
        assert_eq!(read(b"\xef\xbb\xbf"), "");
        assert_eq!(read(b"ab"), "ab");
        assert_eq!(read(b"\xef\xbb\xbf\xef\xbb\xbfa"), "\u{feff}a");
    }

    #[test]
    fn other_encodings_are_recognised() {
        let utf16: Vec<u8> = "a,b\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(unsupported(&utf16, Judge::Csv), Some("UTF-16"));
        assert_eq!(unsupported(b"\xfe\xff\0a", Judge::Csv), Some("UTF-16"));
        let latin1 = Some("Latin-1 or Windows-1252");
        assert_eq!(unsupported(b"a,b\ncaf\xe9,1\n", Judge::Csv), latin1);
        assert_eq!(
            unsupported(b"{\"a\":\"caf\xe9\"}\n", Judge::JsonLines),
            latin1
        );
        // A corrupt line of a dump is not an encoding problem: the reader counts it as malformed.
        assert_eq!(
            unsupported(b"{\"a\":1}\n\xff\xfe\x01\n", Judge::JsonLines),
            None
        );
        assert_eq!(unsupported("caf\u{e9},1\n".as_bytes(), Judge::Csv), None);
        assert_eq!(unsupported(b"caf\xc3\xa9\n\xe9\n", Judge::Csv), None);
        assert_eq!(unsupported(b"", Judge::Csv), None);
    }
}
