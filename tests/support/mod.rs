//! Test support: running `polyphony`, synthetic dumps, a hub server, kills at random moments.

mod program;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use polyphony_io::random::SplitMix64;

pub(crate) use self::program::{done, polyphony, query, run, text};

/// Every file of a store, except the lock, with a hash of its bytes.
pub(crate) fn bytes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "lock" {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                let mut hasher = DefaultHasher::new();
                std::fs::read(path).unwrap().hash(&mut hasher);
                files.insert(name, hasher.finish());
            }
        }
    }
    files
}

/// A dump of `prompts` prompts with seven responses each, in the shape of r/WritingPrompts.
pub(crate) fn dump(folder: &Path, prompts: usize) {
    let (mut submissions, mut comments) = (String::new(), String::new());
    for prompt in 0..prompts {
        let _ = writeln!(
            submissions,
            r#"{{"id":"p{prompt:04}","title":"[WP] Prompt {prompt}.","selftext":"","subreddit":"WritingPrompts","score":{prompt},"created_utc":"15{prompt:08}","retrieved_on":1600000000}}"#
        );
        for response in 0..7 {
            let votes = (prompt * 31 + response * 17) % 40;
            let story = format!("Story {response} of prompt {prompt}. ").repeat(3 + response);
            let _ = writeln!(
                comments,
                r#"{{"id":"r{prompt:04}{response}","link_id":"t3_p{prompt:04}","parent_id":"t3_p{prompt:04}","body":"{story}","author":"a{response}","subreddit":"WritingPrompts","score":{votes},"created_utc":15{prompt:08}.0,"retrieved_on":1600000000}}"#
            );
        }
    }
    std::fs::create_dir_all(folder).unwrap();
    let pack = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(path, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    };
    pack("RS_2019-01.zst", &submissions);
    for (month, lines) in comments
        .lines()
        .collect::<Vec<_>>()
        .chunks(prompts)
        .enumerate()
    {
        pack(
            &format!("RC_2019-{:02}.zst", month + 1),
            &(lines.join("\n") + "\n"),
        );
    }
}

/// Runs a command and kills it after `delay`, repeatedly, each time `more` later, until it completes. Returns the
/// number of kills.
pub(crate) fn kill_until_done(words: &[String], mut delay: Duration, more: Duration) -> u32 {
    let mut kills = 0;
    loop {
        let mut child = polyphony()
            .args(words)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            return kills;
        }
        kills += 1;
        delay += more + Duration::from_millis(5);
    }
}

/// Random numbers with a different seed in every run; `{:?}` prints the seed.
#[derive(Debug)]
pub(crate) struct Random {
    #[expect(dead_code, reason = "a failing test prints it")]
    seed: u64,
    generator: SplitMix64,
}

impl Random {
    /// The clock's nanoseconds as the random seed.
    pub(crate) fn from_clock() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = now.unwrap().as_nanos() as u64;
        Self {
            seed,
            generator: SplitMix64::seed_from_u64(seed),
        }
    }

    /// Uniform in [0, 1).
    pub(crate) fn next_f64(&mut self) -> f64 {
        self.generator.next_f64()
    }
}

/// Starts a hub server and returns its address. It has one repository, at commit `c0ffee`, which needs the token
/// `secret`.
pub(crate) fn hub(repository: &'static str, files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), repository, &files);
        }
    });
    address
}

/// Answers one request: the part of the Hugging Face hub's API that a download needs.
fn answer(mut stream: TcpStream, repository: &str, files: &[(&str, Vec<u8>)]) {
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if request.read_line(&mut line).unwrap() <= 2 {
            break;
        }
        head.push(line);
    }
    let Some(path) = head.first().and_then(|first| first.split(' ').nth(1)) else {
        return;
    };
    let has = |text: &str| head.iter().any(|line| line.to_lowercase().contains(text));
    // A data set's name includes its kind, `datasets/`; a model's does not.
    let api = match repository.strip_prefix("datasets/") {
        Some(_) => format!("/api/{repository}/"),
        None => format!("/api/models/{repository}/"),
    };
    let prefix = format!("/{repository}/resolve/c0ffee/");
    let file = path
        .strip_prefix(&prefix)
        .and_then(|name| files.iter().position(|(file, _)| *file == name));
    let names = files
        .iter()
        .map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#));
    let info = format!(
        r#"{{"sha":"c0ffee","siblings":[{}]}}"#,
        names.collect::<Vec<_>>().join(",")
    );
    let (status, headers, body) = if !has("authorization: bearer secret") {
        ("401 Unauthorized", String::new(), &[][..])
    } else if path.starts_with(&api) {
        ("200 OK", String::new(), info.as_bytes())
    } else if let Some(number) = file {
        let content = &files[number].1;
        let to = if has("bytes=0-0") { 1 } else { content.len() };
        let headers = format!(
            "etag: \"e{number}\"\r\nx-repo-commit: c0ffee\r\ncontent-range: bytes 0-{}/{}\r\n",
            to - 1,
            content.len()
        );
        ("206 Partial Content", headers, &content[..to])
    } else {
        ("404 Not Found", String::new(), &[][..])
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    // A client that only reads the headers closes the connection early: the error is ignored.
    drop(stream.write_all(body));
}
