//! Hugging Face hub: downloads of models and data sets into the hub's cache, at pinned revisions.
//!
//! Configured as the Python library: endpoint `HF_ENDPOINT`, token `HF_TOKEN` or the file that `hf auth login`
//! writes, cache folder `HF_HOME`, offline mode `HF_HUB_OFFLINE`, time limits `HF_HUB_ETAG_TIMEOUT` and
//! `HF_HUB_DOWNLOAD_TIMEOUT`.

mod client;
mod download;

use std::path::PathBuf;

use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;

use self::client::Client;
use self::download::{RemoteFile, is_plain};
use crate::{Error, Result};
use polyphony_io::format::format_from_name;
use polyphony_io::progress::Progress;

/// A file of a repository, in the local cache.
#[derive(Debug, Clone)]
pub struct HubFile {
    /// The file's name for messages and provenance, `hub:OWNER/NAME@COMMIT/FILE`.
    pub name: String,
    /// The file's path in the local cache.
    pub path: PathBuf,
}

/// Downloads the data files (Parquet, JSON Lines, CSV) of the data set `OWNER/NAME[@REVISION]`, sorted by name.
///
/// # Errors
/// When the repository does not exist, needs a token, or has no data file.
pub fn dataset(repository: &str, progress: &dyn Progress) -> Result<Vec<HubFile>> {
    dataset_files(repository, &Ok, progress)
}

/// Downloads one data file of the data set `OWNER/NAME[@REVISION]`: the only one, or the one that `#FILE` behind
/// it names.
///
/// # Errors
/// As [`dataset`], when there is no such file, or when there are several and none is named.
pub fn dataset_file(source: &str, progress: &dyn Progress) -> Result<HubFile> {
    let (repository, wanted) = match source.split_once('#') {
        Some((repository, file)) => (repository, Some(file)),
        None => (source, None),
    };
    let choose = |files: Vec<String>| -> Result<Vec<String>> {
        let chosen = match wanted {
            Some(wanted) => files.iter().find(|file| *file == wanted),
            None => files.first().filter(|_| files.len() == 1),
        };
        chosen.map(|file| vec![file.clone()]).ok_or_else(|| {
            let shown: Vec<&str> = files.iter().take(8).map(String::as_str).collect();
            let more = if files.len() > 8 { ", ..." } else { "" };
            let message = match wanted {
                Some(wanted) => format!("holds no data file {wanted}"),
                None => format!("holds {} data files", files.len()),
            };
            let hint = format!(
                "write hub:{repository}#FILE with one of {}{more}",
                shown.join(", ")
            );
            hub(repository, message, &hint)
        })
    };
    let files = dataset_files(repository, &choose, progress)?;
    let first = files.into_iter().next();
    first.ok_or_else(|| Error::Internal("no file of a data set was chosen".to_owned()))
}

/// Downloads those data files of a data set that `choose` keeps of all their names, which are sorted.
fn dataset_files(
    repository: &str,
    choose: &dyn Fn(Vec<String>) -> Result<Vec<String>>,
    progress: &dyn Progress,
) -> Result<Vec<HubFile>> {
    let (id, revision) = repository.split_once('@').unwrap_or((repository, "main"));
    if id.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(hub(
            repository,
            "is no repository",
            "write it as hub:OWNER/NAME[@REVISION]",
        ));
    }
    let client = Client::from_env().map_err(|error| failed(repository, &error))?;
    let repo =
        |revision: &str| Repo::with_revision(id.to_owned(), RepoType::Dataset, revision.to_owned());
    let info = info(&client, &repo(revision)).map_err(|error| failed(repository, &error))?;
    let mut files: Vec<String> = info
        .siblings
        .into_iter()
        .map(|sibling| sibling.rfilename)
        .filter(|file| format_from_name(file.as_ref()).is_some() && !is_about(file))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(hub(
            repository,
            "holds no .parquet, .jsonl or .csv file",
            "check its page for the revision that does (often `@refs/convert/parquet`)",
        ));
    }
    choose(files)?
        .into_iter()
        .map(|file| {
            progress.message(&format!("fetching hub:{id}@{}/{file}", info.sha));
            let remote = RemoteFile {
                repo: repo(&info.sha),
                commit: &info.sha,
                name: &file,
            };
            let path = remote.get(&client);
            let path = path.map_err(|error| failed(repository, &error))?;
            Ok(HubFile {
                name: format!("hub:{id}@{}/{file}", info.sha),
                path,
            })
        })
        .collect()
}

/// A model repository at one commit.
#[derive(Debug)]
pub struct ModelRepository {
    /// The hub id, `OWNER/NAME`.
    pub id: String,
    /// The commit that the revision resolved to.
    pub commit: String,
    /// The files of the commit; `None` offline, where only the cache can be searched.
    files: Option<Vec<String>>,
}

/// Resolves the model `OWNER/NAME[@REVISION]` to a commit: on the hub or, if the hub cannot be reached or
/// `HF_HUB_OFFLINE` is set, in the cache.
///
/// # Errors
/// When the model is neither on the hub nor in the cache.
pub fn model(repository: &str) -> Result<ModelRepository> {
    let (id, revision) = repository.split_once('@').unwrap_or((repository, "main"));
    let repo = model_at(id, revision);
    let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|set| set != "0" && !set.is_empty());
    let answer = if offline {
        Err(hub(
            repository,
            "is not in the cache, and HF_HUB_OFFLINE is set",
            "unset it, or fetch the model first",
        ))
    } else {
        Client::from_env()
            .and_then(|client| info(&client, &repo))
            .map_err(|error| failed(repository, &error))
    };
    match answer {
        Ok(info) => {
            // Caches the commit of the revision for offline use. A failure to do so is not an error.
            drop(Cache::from_env().repo(repo).create_ref(&info.sha));
            let files = info.siblings.into_iter().map(|file| file.rfilename);
            Ok(ModelRepository {
                id: id.to_owned(),
                commit: info.sha,
                files: Some(files.collect()),
            })
        }
        Err(error) => {
            // A cached file's path ends in COMMIT/config.json.
            let cached = Cache::from_env().repo(repo).get("config.json");
            let commit = cached
                .as_deref()
                .and_then(|path| path.parent()?.file_name()?.to_str());
            let commit = commit.ok_or(error)?;
            Ok(ModelRepository {
                id: id.to_owned(),
                commit: commit.to_owned(),
                files: None,
            })
        }
    }
}

impl ModelRepository {
    /// The path of a file of the repository, downloaded if it is not cached; `None` if there is no such file.
    ///
    /// # Errors
    /// When the download fails.
    pub fn file(&self, name: &str) -> Result<Option<PathBuf>> {
        let remote = RemoteFile {
            repo: model_at(&self.id, &self.commit),
            commit: &self.commit,
            name,
        };
        let cached = remote.cached();
        if cached.is_file() {
            return Ok(Some(cached));
        }
        match &self.files {
            Some(files) if files.iter().any(|file| file == name) => Client::from_env()
                .and_then(|client| remote.get(&client))
                .map(Some)
                .map_err(|error| failed(&self.id, &error)),
            // Offline it is unknown whether the model has an uncached file. modules.json must not be skipped:
            // without it texts would be pooled in another way.
            None if name == "modules.json" => Err(hub(
                &self.id,
                "is in the cache only in part, and the hub cannot be reached",
                "run once with the network",
            )),
            _ => Ok(None),
        }
    }
}

/// The model repository at a revision.
fn model_at(id: &str, revision: &str) -> Repo {
    Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned())
}

/// What the hub says about a repository at a revision.
#[derive(Deserialize)]
struct RepositoryInfo {
    /// The commit.
    sha: String,
    /// The files.
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// A file of a repository.
#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks the hub about a repository.
fn info(client: &Client, repo: &Repo) -> std::result::Result<RepositoryInfo, String> {
    let path = repo.api_url();
    let (kind_and_id, revision) = path.split_once("/revision/").unwrap_or((&path, "main"));
    let revision = revision.replace("%2F", "/");
    let parts = ["api"].into_iter().chain(kind_and_id.split('/'));
    let url = client.url(parts.chain(["revision", &revision]))?;
    let text = client.json(&url)?;
    let info: RepositoryInfo = serde_json::from_slice(&text)
        .map_err(|error| format!("the hub's answer is no repository: {error}"))?;
    if !is_plain(&info.sha) {
        return Err(format!("the hub's commit is no file name ({:?})", info.sha));
    }
    Ok(info)
}

/// Whether a file with the extension of a data file is metadata of the data set.
fn is_about(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    matches!(
        name,
        "dataset_infos.json" | "dataset_info.json" | "state.json"
    )
}

/// An error about a repository of the hub.
fn hub(repository: &str, message: impl Into<String>, hint: &str) -> Error {
    Error::Hub {
        repository: repository.to_owned(),
        message: message.into(),
        hint: hint.to_owned(),
    }
}

/// The error for a failed request, with a hint by HTTP status.
fn failed(repository: &str, error: &str) -> Error {
    let message = error.lines().next().unwrap_or_default();
    let hint = if message.contains("401") || message.contains("403") {
        "set HF_TOKEN to a token that may read it, and accept its licence on its page"
    } else if message.contains("404") {
        "check the name and the revision"
    } else {
        "check the network and HF_ENDPOINT, or fetch the files by hand and name them"
    };
    hub(repository, format!("cannot be fetched ({message})"), hint)
}
