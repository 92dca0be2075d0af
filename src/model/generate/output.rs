//! Output of a generation job: a file of JSON lines that grows, and a file with the checksum of each line.
//!
//! A line's checksum is written before the line. A resumed run compares them, drops an incomplete last line and lines
//! without a checksum, and goes on there. The manifest `OUT.json` has the SHA-256 of the complete output.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::ADAPTER;
use super::job::is_same_run;
use super::row::with_ending;
use crate::{Error, Result};
use polyphony_io::atomic::write_json;
use polyphony_io::hash::{Sha256, hex, sha256_file};
use polyphony_io::progress::Progress;

/// The ending of the file of checksums, behind that of the lines.
const CHECKSUMS: &str = "checksums";
/// The manifest's field with the SHA-256 of the complete output.
pub const OUTPUT_SHA256: &str = "output_sha256";
/// The fields of the manifest that are not options of the run. What is known about the adapter's training may differ:
/// the weights are compared by their revision.
const NOT_OPTIONS: [&str; 2] = [ADAPTER, OUTPUT_SHA256];

/// The file of completions, open for appending, with its checksums.
pub(super) struct Output {
    lines: File,
    path: PathBuf,
    checksums: File,
    checksums_path: PathBuf,
    /// Whether an earlier version wrote the lines, which had no checksums.
    is_unchecked: bool,
}

impl Output {
    /// Opens the file of completions. Writes its manifest `out.json`, or compares it if a run wrote it before.
    ///
    /// # Errors
    /// When another run writes it, or the file is of other options or has no manifest.
    pub(super) fn open(manifest: &Value, out: &Path, completions: &Path) -> Result<Self> {
        let path = with_ending(out, "json");
        match std::fs::read(&path) {
            Ok(existing) if is_same_run(&existing, manifest, &NOT_OPTIONS) => {}
            Ok(_) => {
                let message = format!("was written with other options, see {}", path.display());
                let hint = "choose another --out, or remove both files";
                return Err(Error::input(out, message, hint));
            }
            Err(_) if out.exists() || completions.exists() => {
                let message = format!("exists without its manifest {}", path.display());
                return Err(Error::input(out, message, "choose another --out"));
            }
            Err(_) => write_json(&path, manifest)?,
        }
        let lines = open(completions)?;
        lines.try_lock().map_err(|_| {
            Error::input(
                out,
                "is being written by another run",
                "wait for it, or choose another --out",
            )
        })?;
        let checksums_path = with_ending(completions, CHECKSUMS);
        let is_unchecked = !checksums_path.exists();
        Ok(Self {
            lines,
            path: completions.to_path_buf(),
            checksums: open(&checksums_path)?,
            checksums_path,
            is_unchecked,
        })
    }

    /// Compares the lines with their checksums and removes those behind them. Returns the number of lines that remain.
    ///
    /// # Errors
    /// When a file cannot be read, or a line is not as it was written.
    pub(super) fn resume(&mut self, progress: &dyn Progress) -> Result<usize> {
        let failed = |path: &Path| Error::io("read", path);
        let mut lines = BufReader::new(&self.lines);
        let mut checksums = BufReader::new(&self.checksums);
        let (mut line, mut expected) = (Vec::new(), Vec::new());
        let (mut count, mut end, mut new) = (0, 0, String::new());
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let read = read.map_err(failed(&self.path))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            if self.is_unchecked {
                new.push_str(&checksum(&line));
            } else {
                expected.clear();
                let read = checksums.read_until(b'\n', &mut expected);
                read.map_err(failed(&self.checksums_path))?;
                if expected.last() != Some(&b'\n') {
                    break;
                }
                if expected != checksum(&line).as_bytes() {
                    return Err(Error::input(
                        &self.path,
                        format!(
                            "line {} is damaged: it does not agree with its checksum in {}",
                            count + 1,
                            self.checksums_path.display()
                        ),
                        "restore the file from a copy, or remove this line and those after it, which the same command \
                         generates again; if it was changed on purpose, remove its checksums",
                    ));
                }
            }
            count += 1;
            end += read as u64;
        }
        if self.is_unchecked && count > 0 {
            progress.message(&format!(
                "{}: its {count} lines have no checksums, so they were not verified",
                self.path.display()
            ));
        }
        let kept = if self.is_unchecked { 0 } else { count };
        let end_of_checksums = (kept * checksum(&[]).len()) as u64;
        cut(&mut self.lines, end).map_err(Error::io("write", &self.path))?;
        let of_checksums = cut(&mut self.checksums, end_of_checksums);
        let of_checksums = of_checksums.and_then(|()| self.checksums.write_all(new.as_bytes()));
        of_checksums.map_err(Error::io("write", &self.checksums_path))?;
        Ok(count)
    }

    /// Appends a line, which ends in a line end.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<()> {
        let written = self.checksums.write_all(checksum(line).as_bytes());
        written.map_err(Error::io("write", &self.checksums_path))?;
        let written = self.lines.write_all(line);
        written.map_err(Error::io("write", &self.path))
    }

    /// Flushes the lines to disk.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.checksums.sync_all();
        synced.map_err(Error::io("write", &self.checksums_path))?;
        let synced = self.lines.sync_all();
        synced.map_err(Error::io("write", &self.path))
    }
}

/// Opens a file for reading and appending.
fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    file.map_err(Error::io("write", path))
}

/// Truncates a file, and sets the position to its end.
fn cut(file: &mut File, end: u64) -> std::io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end)).map(drop)
}

/// The line of the file of checksums: 16 hex digits of the line's SHA-256.
fn checksum(line: &[u8]) -> String {
    format!("{}\n", &hex(&Sha256::digest(line))[..16])
}

/// Adds the SHA-256 of the complete output to the manifest beside it.
///
/// # Errors
/// When a file cannot be read, or the manifest cannot be written.
pub(super) fn record(out: &Path, manifest: &Value) -> Result<()> {
    let path = with_ending(out, "json");
    let sha256 = json!(sha256_file(out)?);
    let before = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let before: Value = serde_json::from_slice(&before)?;
    if before[OUTPUT_SHA256] == sha256 {
        return Ok(());
    }
    let mut manifest = manifest.clone();
    if let Some(adapter) = before.get(ADAPTER) {
        manifest[ADAPTER] = adapter.clone();
    }
    manifest[OUTPUT_SHA256] = sha256;
    write_json(&path, &manifest)
}

/// Fails if a file has a manifest of `polyphony generate` with another SHA-256 than `sha256`, that of its content.
///
/// # Errors
/// When it has, or the manifest cannot be read.
pub fn check(file: &Path, sha256: &str) -> Result<()> {
    let path = with_ending(file, "json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
    match manifest[OUTPUT_SHA256].as_str() {
        Some(expected) if expected != sha256 => Err(Error::input(
            file,
            format!(
                "is not as it was generated: its SHA-256 is {sha256}, {} says {expected}",
                path.display()
            ),
            "restore it or generate it again; if it was changed on purpose, remove its manifest",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use polyphony_io::progress::NoProgress;

    use super::*;

    #[test]
    fn damaged_lines_are_errors_and_lines_that_are_cut_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.jsonl");
        let manifest = json!({"seed": 7});
        let open = || Output::open(&manifest, &out, &out).unwrap();
        let mut output = open();
        assert_eq!(output.resume(&NoProgress).unwrap(), 0);
        let lines = ["{\"a\":1}\n", "{\"a\":2}\n", "{\"a\":3}\n"];
        for line in lines {
            output.append(line.as_bytes()).unwrap();
        }
        drop(output);
        let whole = lines.concat();
        for (damaged, line) in [
            (whole.replace('2', "5"), 2),
            (whole.replacen('\n', " ", 1), 1),
            (whole.replacen(lines[0], "", 1), 1),
            (whole.replacen(lines[1], &lines[1].repeat(2), 1), 3),
        ] {
            fs::write(&out, &damaged).unwrap();
            let message = open().resume(&NoProgress).unwrap_err().to_string();
            assert!(
                message.contains(&format!("out.jsonl: line {line} is damaged")),
                "{message}"
            );
            assert_eq!(fs::read_to_string(&out).unwrap(), damaged);
        }
        // Cut within the last line, and a line whose checksum is not written yet.
        fs::write(&out, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(open().resume(&NoProgress).unwrap(), 2);
        assert_eq!(fs::read_to_string(&out).unwrap(), lines[..2].concat());
        fs::write(&out, &whole).unwrap();
        let mut output = open();
        assert_eq!(output.resume(&NoProgress).unwrap(), 2);
        output.append(lines[2].as_bytes()).unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&out).unwrap(), whole);
        // An earlier version wrote no checksums; they are added.
        fs::remove_file(with_ending(&out, CHECKSUMS)).unwrap();
        assert_eq!(open().resume(&NoProgress).unwrap(), 3);
        fs::write(&out, whole.replace('2', "5")).unwrap();
        assert!(open().resume(&NoProgress).is_err());
    }

    #[test]
    fn a_changed_output_is_an_error_while_its_manifest_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.jsonl");
        let manifest = json!({"seed": 7});
        drop(Output::open(&manifest, &out, &out).unwrap());
        fs::write(&out, "{}\n").unwrap();
        record(&out, &manifest).unwrap();
        check(&out, &sha256_file(&out).unwrap()).unwrap();
        fs::write(&out, "[]\n").unwrap();
        let sha256 = sha256_file(&out).unwrap();
        let message = check(&out, &sha256).unwrap_err().to_string();
        assert!(message.contains("is not as it was generated"), "{message}");
        // The same options go on all the same: the hash is no option.
        drop(Output::open(&manifest, &out, &out).unwrap());
        fs::remove_file(with_ending(&out, "json")).unwrap();
        check(&out, &sha256).unwrap();
    }
}
