//! How do files come from the Hugging Face hub? Through the hf-hub crate, with pinned revisions.
//!
//! The endpoint is `HF_ENDPOINT`, the token `HF_TOKEN` or the file that `hf auth login` writes, the
//! cache `HF_HOME`: as in the Python library.

use std::path::PathBuf;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::{Error, Result};
use polyphony_io::format::format_from_name;
use polyphony_io::progress::Progress;

/// A file of a repository, in the local cache.
#[derive(Debug, Clone)]
pub struct HubFile {
    /// `hub:OWNER/NAME@COMMIT/FILE`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// Fetches the data files (Parquet, JSON lines, CSV) of the data set `OWNER/NAME[@REVISION]`.
///
/// # Errors
/// When the repository is not there, needs a token, or holds no data file.
pub fn dataset(repository: &str, progress: &dyn Progress) -> Result<Vec<HubFile>> {
    let (id, revision) = repository.split_once('@').unwrap_or((repository, "main"));
    if id.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(hub(
            repository,
            "is no repository",
            "write it as hub:OWNER/NAME[@REVISION]",
        ));
    }
    let api = api(repository)?;
    let repo = |revision: &str| {
        api.repo(Repo::with_revision(
            id.to_owned(),
            RepoType::Dataset,
            revision.to_owned(),
        ))
    };
    let info = repo(revision)
        .info()
        .map_err(|error| failed(repository, &error))?;
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
    let pinned = repo(&info.sha);
    files
        .into_iter()
        .map(|file| {
            progress.message(&format!("fetching hub:{id}@{}/{file}", info.sha));
            let path = pinned
                .get(&file)
                .map_err(|error| failed(repository, &error))?;
            Ok(HubFile {
                name: format!("hub:{id}@{}/{file}", info.sha),
                path,
            })
        })
        .collect()
}

/// A repository of a model, at one commit.
#[derive(Debug)]
pub struct ModelRepository {
    /// `OWNER/NAME`.
    pub id: String,
    /// The commit that the name stood for when it was looked up.
    pub commit: String,
    /// What the commit holds; unknown offline, where the cache alone counts.
    files: Option<Vec<String>>,
}

/// Looks up the model `OWNER/NAME[@REVISION]`: on the hub, or, where that cannot be reached or
/// `HF_HUB_OFFLINE` is set, in the cache.
///
/// # Errors
/// When neither knows it.
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
        api(repository)?
            .repo(repo.clone())
            .info()
            .map_err(|error| failed(repository, &error))
    };
    match answer {
        Ok(info) => {
            // What the revision stands for is kept, for when the hub cannot be reached.
            drop(Cache::from_env().repo(repo).create_ref(&info.sha));
            let files = info.siblings.into_iter().map(|file| file.rfilename);
            Ok(ModelRepository {
                id: id.to_owned(),
                commit: info.sha,
                files: Some(files.collect()),
            })
        }
        Err(refused) => {
            // A cached file's path ends in COMMIT/config.json.
            let cached = Cache::from_env().repo(repo).get("config.json");
            let commit = cached
                .as_deref()
                .and_then(|path| path.parent()?.file_name()?.to_str());
            let commit = commit.ok_or(refused)?;
            Ok(ModelRepository {
                id: id.to_owned(),
                commit: commit.to_owned(),
                files: None,
            })
        }
    }
}

impl ModelRepository {
    /// A file of the repository, from the cache or fetched; none where it has no such file.
    ///
    /// # Errors
    /// When the hub refuses it.
    pub fn file(&self, name: &str) -> Result<Option<PathBuf>> {
        let pinned = model_at(&self.id, &self.commit);
        let snapshot = Cache::from_env().repo(pinned.clone());
        let cached = snapshot.pointer_path(&self.commit).join(name);
        if cached.is_file() {
            return Ok(Some(cached));
        }
        match &self.files {
            Some(files) if files.iter().any(|file| file == name) => api(&self.id)?
                .repo(pinned)
                .get(name)
                .map(Some)
                .map_err(|error| failed(&self.id, &error)),
            // Offline nobody knows whether the model has it; without this one texts are pooled otherwise.
            None if name == "modules.json" => Err(hub(
                &self.id,
                "is in the cache only in part, and the hub cannot be reached",
                "run once with the network",
            )),
            _ => Ok(None),
        }
    }
}

fn model_at(id: &str, revision: &str) -> Repo {
    Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned())
}

fn api(repository: &str) -> Result<Api> {
    let mut builder = ApiBuilder::from_env().with_progress(false).with_retries(3);
    // The crate knows the token's file; the variable goes before it, as in Python.
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token).filter(|token| !token.is_empty()));
    }
    builder.build().map_err(|error| failed(repository, &error))
}

/// Files beside the data that have a data file's ending.
fn is_about(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    matches!(
        name,
        "dataset_infos.json" | "dataset_info.json" | "state.json"
    )
}

fn hub(repository: &str, message: impl Into<String>, hint: &str) -> Error {
    Error::Hub {
        repository: repository.to_owned(),
        message: message.into(),
        hint: hint.to_owned(),
    }
}

fn failed(repository: &str, error: &ApiError) -> Error {
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    let hint = if message.contains("401") || message.contains("403") {
        "set HF_TOKEN to a token that may read it, and accept its licence on its page"
    } else if message.contains("404") {
        "check the name and the revision"
    } else {
        "check the network and HF_ENDPOINT, or fetch the files by hand and name them"
    };
    hub(repository, format!("cannot be fetched ({message})"), hint)
}
