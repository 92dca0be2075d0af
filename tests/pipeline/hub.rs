//! The hub as an opponent: redirects to another host, names that lead out of the cache, wrong content, silence.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::{polyphony, text};

/// The rows of a data set.
const ROW: &str =
    r#"{"post_title":"A door.","comment_texts":["One.","Two."],"comment_scores":[7,3]}"#;
/// The SHA-256 of [`ROW`], as `sha256sum` gives it.
const SHA256: &str = "5ea6a9b76e7fdbb7520f91af6b240cc18fc54a9dfe6a2030e491459edff2dbeb";

/// The id of [`ROW`] as a git blob, as `git hash-object` gives it.
const GIT_ID: &str = "26920a5e118bffad821a4c1d0eb2985cc6fc3dba";

/// A server that answers each request by a function of its lines; returns its address and the requests.
fn serve(
    answer: impl Fn(&[String]) -> String + Send + 'static,
) -> (String, Arc<Mutex<Vec<Vec<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines
                .by_ref()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            seen.lock().unwrap().push(head.clone());
            // A client that is satisfied closes the connection early.
            drop(stream.write_all(answer(&head).as_bytes()));
        }
    });
    (address, requests)
}

/// An HTTP answer with headers and a body.
fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The description of a data set with one file.
fn info(sha: &str, file: &str) -> String {
    let body = format!(r#"{{"sha":"{sha}","siblings":[{{"rfilename":"{file}"}}]}}"#);
    http("200 OK", "", &body)
}

/// A file's content, with its `ETag`.
fn content(head: &[String], etag: &str, body: &str) -> String {
    let is_probe = head
        .iter()
        .any(|line| line.to_lowercase().contains("bytes=0-0"));
    let sent = if is_probe { &body[..1] } else { body };
    let range = format!(
        "content-range: bytes 0-{}/{}\r\n",
        sent.len() - 1,
        body.len()
    );
    let headers = format!("etag: \"{etag}\"\r\nx-repo-commit: c0ffee\r\n{range}");
    http("206 Partial Content", &headers, sent)
}

fn ingest(endpoint: &str, folder: &Path) -> Output {
    polyphony()
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", folder.join("home/cache"))
        .env("HF_TOKEN", "secret")
        .env("HF_HUB_ETAG_TIMEOUT", "1")
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "1")
        .args([
            "ingest",
            "hub:ann/stories",
            "--store",
            text(&folder.join("store")),
        ])
        .output()
        .unwrap()
}

/// Asserts that a command failed with one line, which has this text.
fn assert_error(output: &Output, part: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error = stderr.lines().last().unwrap_or_default();
    assert!(
        error.starts_with("error: hub:ann/stories") && error.contains(part),
        "{stderr}"
    );
}

/// The files and folders of a folder, by name.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_token_stays_with_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let (elsewhere, requests) = serve(|head| content(head, SHA256, ROW));
    let (endpoint, at_hub) = serve(move |head| {
        if head[0].contains("/api/") {
            return info("c0ffee", "train.jsonl");
        }
        let headers = format!(
            "location: {elsewhere}/file\r\nx-linked-etag: \"{SHA256}\"\r\nx-linked-size: {}\r\nx-repo-commit: c0ffee\r\n",
            ROW.len()
        );
        http("302 Found", &headers, "")
    });
    let output = ingest(&endpoint, folder.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let has_token = |head: &Vec<String>| {
        head.iter()
            .any(|line| line.to_lowercase().contains("secret"))
    };
    assert!(at_hub.lock().unwrap().iter().all(has_token));
    let requests = requests.lock().unwrap();
    assert!(
        !requests.is_empty() && !requests.iter().any(has_token),
        "{requests:?}"
    );
}

#[test]
fn names_of_a_hostile_hub_do_not_lead_out_of_the_cache() {
    let hostile = "../../../../../../out.jsonl";
    for (sha, file, etag, part) in [
        ("c0ffee", hostile, SHA256, "is no relative path"),
        ("c0ffee", "/out.jsonl", SHA256, "is no relative path"),
        (
            "../../../../../out",
            "train.jsonl",
            SHA256,
            "commit is no file name",
        ),
        (
            "c0ffee",
            "train.jsonl",
            "../../../../../out",
            "ETag is no file name",
        ),
        ("c0ffee", "train.jsonl", "", "ETag is no file name"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (endpoint, _) = serve(move |head| {
            if head[0].contains("/api/") {
                info(sha, file)
            } else {
                content(head, etag, ROW)
            }
        });
        assert_error(&ingest(&endpoint, folder.path()), part);
        let names = entries(folder.path());
        assert!(names.is_empty() || names == ["home"], "{names:?}");
        assert!(!Path::new("/out.jsonl").exists());
    }
}

#[test]
fn content_that_is_not_of_its_hash_is_refused_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = ROW.replace("One", "0ne");
    // The id of the git blob is the ETag of a small file.
    for (etag, body) in [
        (SHA256, damaged.clone()),
        (GIT_ID, damaged),
        (SHA256, ROW.to_owned()),
        (GIT_ID, ROW.to_owned()),
    ] {
        let is_right = body == ROW;
        let (endpoint, _) = serve(move |head| {
            if head[0].contains("/api/") {
                info("c0ffee", "train.jsonl")
            } else {
                content(head, etag, &body)
            }
        });
        let home = folder.path().join(if is_right { etag } else { "damaged" });
        let output = ingest(&endpoint, &home);
        if is_right {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        } else {
            assert_error(&output, "its content has the hash");
        }
    }
}

#[test]
fn a_hub_that_says_nothing_is_an_error_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    assert_error(&ingest(&address, folder.path()), "cannot be fetched");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    drop(listener);
}
