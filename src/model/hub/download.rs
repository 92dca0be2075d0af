//! Download of a file of the hub into its cache: resumed after a break, checked by its hash, and nowhere but there.
//!
//! The layout is that of Python's `huggingface_hub`: `blobs/ETAG`, and `snapshots/COMMIT/FILE` as a link to it. The `ETag`
//! of a large file is its SHA-256, that of a small one the id of its git blob (SHA-1).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use hf_hub::{Cache, Repo};
use url::Url;

use super::client::{Client, Follow, text};
use crate::Error;
use polyphony_io::hash::{git_blob_id, sha256_file};

/// The number of times that a broken download goes on.
const RETRIES: u32 = 3;

/// A file of a repository at a commit.
pub(super) struct RemoteFile<'a> {
    /// The repository.
    pub(super) repo: Repo,
    /// The commit.
    pub(super) commit: &'a str,
    /// The file's path in the repository.
    pub(super) name: &'a str,
}

/// What the hub says about a file.
struct Metadata {
    etag: String,
    size: Option<u64>,
}

impl RemoteFile<'_> {
    /// The file's path in the cache, whether it is there or not.
    pub(super) fn cached(&self) -> PathBuf {
        let cache = Cache::from_env().repo(self.repo.clone());
        cache.pointer_path(self.commit).join(self.name)
    }

    /// The file's path in the cache, after a download if it is not there.
    ///
    /// # Errors
    /// When the hub does not give it, gives another content than its hash, or names that are no file names.
    pub(super) fn get(&self, client: &Client) -> Result<PathBuf, String> {
        if !is_plain(self.commit) {
            return Err(format!(
                "the hub's commit is no file name ({:?})",
                self.commit
            ));
        }
        if !is_relative(self.name) {
            return Err(format!(
                "the hub's file is no relative path ({:?})",
                self.name
            ));
        }
        let pointer = self.cached();
        if pointer.is_file() {
            return Ok(pointer);
        }
        let parts = self.repo.url();
        let parts = parts.split('/').chain(["resolve", self.commit]);
        let url = client.url(parts.chain(self.name.split('/')))?;
        let metadata = metadata(client, &url)?;
        let blob = Cache::from_env()
            .repo(self.repo.clone())
            .blob_path(&metadata.etag);
        let failed = |path: &Path| {
            let failed = Error::io("write", path);
            move |error| failed(error).to_string()
        };
        for folder in [blob.parent(), pointer.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        if !blob.is_file() {
            let lock = with_ending(&blob, "lock");
            let file = File::create(&lock).map_err(failed(&lock))?;
            file.lock().map_err(failed(&lock))?;
            // Another process may have fetched it meanwhile.
            if !blob.is_file() {
                let part = with_ending(&blob, "part");
                download(client, &url, &part, &metadata)?;
                verify(&part, &metadata)?;
                fs::rename(&part, &blob).map_err(failed(&blob))?;
            }
        }
        link(&blob, &pointer).map_err(failed(&pointer))?;
        Ok(pointer)
    }
}

/// Asks for the `ETag` and the size of a file.
fn metadata(client: &Client, url: &Url) -> Result<Metadata, String> {
    let response = client.get(url, Some("bytes=0-0"), Follow::SameHost)?;
    let etag = text(&response, "x-linked-etag").or_else(|| text(&response, "etag"));
    let etag = etag.ok_or("the hub gives no ETag")?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    if !is_plain(&etag) {
        return Err(format!("the hub's ETag is no file name ({etag:?})"));
    }
    let total = || text(&response, "content-range")?.rsplit('/').next();
    let size = text(&response, "x-linked-size").or_else(total);
    Ok(Metadata {
        etag,
        size: size.and_then(|size| size.parse().ok()),
    })
}

/// Downloads into `part`, behind what is there already; a break is resumed.
fn download(client: &Client, url: &Url, part: &Path, metadata: &Metadata) -> Result<(), String> {
    let mut attempt = 0;
    loop {
        match append(client, url, part, metadata.size) {
            Ok(()) => return Ok(()),
            // A status is the hub's decision; a break may pass.
            Err(error) if attempt == RETRIES || error.starts_with("HTTP status 4") => {
                return Err(error);
            }
            Err(_) => {
                attempt += 1;
                sleep(Duration::from_millis(300) * attempt * attempt);
            }
        }
    }
}

/// One request for the rest of a file.
fn append(client: &Client, url: &Url, part: &Path, size: Option<u64>) -> Result<(), String> {
    let failed = |error| Error::io("write", part)(error).to_string();
    let file = OpenOptions::new().create(true).append(true).open(part);
    let mut file = file.map_err(&failed)?;
    let mut start = file.metadata().map_err(&failed)?.len();
    if size.is_some_and(|size| start > size) {
        file.set_len(0).map_err(&failed)?;
        start = 0;
    }
    if size == Some(start) && start > 0 {
        return Ok(());
    }
    let range = format!("bytes={start}-");
    let response = client.get(url, Some(&range), Follow::Anywhere)?;
    let is_rest = response.status().as_u16() == 206
        && text(&response, "content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {start}-")));
    if start > 0 && !is_rest {
        file.set_len(0).map_err(&failed)?;
        start = 0;
    }
    // A server that sends without end does not fill the disk.
    let most = size.map_or(u64::MAX, |size| size - start + 1);
    let mut body = response.into_body().into_reader().take(most);
    let received = io::copy(&mut body, &mut file).map_err(|error| error.to_string())?;
    file.flush().map_err(&failed)?;
    match size {
        Some(size) if start + received != size => Err(format!(
            "the connection broke after {} of {size} bytes",
            start + received
        )),
        _ => file.sync_all().map_err(failed),
    }
}

/// Compares a downloaded file with the hash that its `ETag` is; removes it if it differs.
fn verify(part: &Path, metadata: &Metadata) -> Result<(), String> {
    let etag = &metadata.etag;
    let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = match etag.len() {
        64 if is_hex => sha256_file(part),
        40 if is_hex => git_blob_id(part),
        // A mirror may have ETags of its own, which are no hashes.
        _ => return Ok(()),
    };
    let found = found.map_err(|error| error.to_string())?;
    if found == etag.to_lowercase() {
        return Ok(());
    }
    drop(fs::remove_file(part));
    Err(format!(
        "its content has the hash {found}, the hub says {etag}"
    ))
}

/// Links `pointer` to `blob`, by a relative path as Python's library does.
fn link(blob: &Path, pointer: &Path) -> io::Result<()> {
    if pointer.is_file() {
        return Ok(());
    }
    drop(fs::remove_file(pointer));
    #[cfg(unix)]
    {
        // From snapshots/COMMIT/A/B up to the repository's folder.
        let folder = blob.parent().and_then(Path::parent).unwrap_or(blob);
        let inside = pointer.strip_prefix(folder).unwrap_or(pointer);
        let mut target: PathBuf = inside
            .components()
            .skip(1)
            .map(|_| Component::ParentDir)
            .collect();
        target.push(blob.strip_prefix(folder).unwrap_or(blob));
        std::os::unix::fs::symlink(target, pointer)
    }
    #[cfg(not(unix))]
    fs::copy(blob, pointer).map(drop)
}

/// A path with one more ending.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Whether a name is that of a file or folder, without a path.
pub(super) fn is_plain(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 200 && name.chars().all(is_part) && !name.starts_with('.')
}

/// Whether a path stays in the folder that it is relative to.
pub(super) fn is_relative(name: &str) -> bool {
    let path = Path::new(name);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains(['\\', '\0']) && path.components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lead_out_of_the_cache() {
        for name in ["a.json", "data/train-0.parquet", "..a"] {
            assert!(is_relative(name), "{name}");
        }
        for name in [
            "",
            "../a",
            "a/../../b",
            "/etc/passwd",
            "a\\b",
            ".",
            "./../a",
        ] {
            assert!(!is_relative(name), "{name}");
        }
        assert!(is_plain("c0ffee") && is_plain("0-9_a.b"));
        for name in ["", "..", ".a", "a/b", "../../a", "a b", "a\\b", "\u{e9}"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_relative_and_lead_to_the_blob() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join("models--a--b/blobs/e0");
        let pointer = folder
            .path()
            .join("models--a--b/snapshots/c0ffee/data/x.json");
        for path in [&blob, &pointer] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(&blob, "x").unwrap();
        link(&blob, &pointer).unwrap();
        assert_eq!(fs::read_to_string(&pointer).unwrap(), "x");
        assert_eq!(
            fs::read_link(&pointer).unwrap(),
            Path::new("../../../blobs/e0")
        );
        link(&blob, &pointer).unwrap();
    }
}
