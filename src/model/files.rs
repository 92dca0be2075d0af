//! Model files: looked up in a local folder or in a repository of the Hugging Face hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::hub::{self, ModelRepository};
use crate::weights;
use crate::{Error, Result};
use polyphony_io::hash::{Sha256, hex, sha256_file_digest};

/// A model's files and its name.
#[derive(Debug)]
pub struct ModelFiles {
    /// The model's name: the hub id `OWNER/NAME`, or the name of the folder.
    pub name: String,
    source: ModelSource,
}

#[derive(Debug)]
enum ModelSource {
    Folder(PathBuf),
    Hub(ModelRepository),
}

impl ModelFiles {
    /// Finds a model by the path of a folder or by a hub id `OWNER/NAME[@REVISION]`.
    ///
    /// # Errors
    /// When there is no such folder and no such repository on the hub.
    pub fn find_model(reference: &str) -> Result<Self> {
        let path = Path::new(reference);
        if path.is_dir() {
            let absolute = path.canonicalize().map_err(Error::io("read", path))?;
            return Ok(Self {
                name: folder_name(&absolute),
                source: ModelSource::Folder(path.to_path_buf()),
            });
        }
        if !is_hub_id(reference) {
            return Err(Error::input(
                path,
                "is not the folder of a model",
                "name a folder with config.json, or a hub id OWNER/NAME[@REVISION]",
            ));
        }
        let repository = hub::model(reference)?;
        Ok(Self {
            name: repository.id.clone(),
            source: ModelSource::Hub(repository),
        })
    }

    /// The path of a file of the model, downloaded if it is not cached; `None` if the model has no such file.
    ///
    /// # Errors
    /// When the download fails.
    pub fn find(&self, file: &str) -> Result<Option<PathBuf>> {
        match &self.source {
            ModelSource::Folder(folder) => {
                Ok(Some(folder.join(file)).filter(|path| path.is_file()))
            }
            ModelSource::Hub(repository) => repository.file(file),
        }
    }

    /// As [`Self::find`], for a required file.
    ///
    /// # Errors
    /// When the file is missing; the message names it.
    pub fn require(&self, file: &str) -> Result<PathBuf> {
        self.find(file)?
            .ok_or_else(|| self.missing_file_error(file))
    }

    /// The JSON value in a file; `None` if the model has no such file.
    ///
    /// # Errors
    /// When the file is not valid JSON.
    pub fn read_json(&self, file: &str) -> Result<Option<Value>> {
        let Some(path) = self.find(file)? else {
            return Ok(None);
        };
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let value = serde_json::from_slice(&text).map_err(|error| {
            Error::input(
                &path,
                format!("is not valid JSON ({error})"),
                "fetch the model again",
            )
        })?;
        Ok(Some(value))
    }

    /// The error for a missing file.
    pub fn missing_file_error(&self, file: &str) -> Error {
        match &self.source {
            ModelSource::Folder(folder) => Error::input(
                folder,
                format!("has no {file}"),
                "name the folder of a complete model",
            ),
            ModelSource::Hub(repository) => Error::Hub {
                repository: repository.id.clone(),
                message: format!("has no {file}"),
                hint: "choose a model that has one".to_owned(),
            },
        }
    }

    /// The reference to a base model that an adapter stores: the hub id `OWNER/NAME` and its commit, or the
    /// folder's absolute path.
    ///
    /// # Errors
    /// When the folder no longer exists.
    pub fn base_model_ref(&self) -> Result<(String, Option<String>)> {
        let folder = match &self.source {
            ModelSource::Hub(hub) => return Ok((hub.id.clone(), Some(hub.commit.clone()))),
            ModelSource::Folder(folder) => folder,
        };
        let absolute = folder.canonicalize().map_err(Error::io("read", folder))?;
        Ok(match cached_snapshot(&absolute) {
            Some((id, commit)) => (id, Some(commit)),
            None => (absolute.to_string_lossy().into_owned(), None),
        })
    }

    /// The revision: the hub's commit, or a hash of those files of the folder that are loaded.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn revision(&self) -> Result<String> {
        let folder = match &self.source {
            ModelSource::Hub(repository) => return Ok(repository.commit.clone()),
            ModelSource::Folder(folder) => folder,
        };
        let absolute = folder.canonicalize().map_err(Error::io("read", folder))?;
        if let Some((_, commit)) = cached_snapshot(&absolute) {
            return Ok(commit);
        }
        let mut hasher = Sha256::new();
        for file in self.loaded_files()? {
            let Some(path) = self.find(&file)? else {
                continue;
            };
            hasher.update(file);
            hasher.update(sha256_file_digest(&path)?);
        }
        Ok(hex(&hasher.finalize())[..16].to_owned())
    }

    /// The files that a model's results depend on, as paths relative to its folder.
    fn loaded_files(&self) -> Result<BTreeSet<String>> {
        let mut files: BTreeSet<String> = CONFIG_FILES.map(str::to_owned).into();
        files.extend(weights::weight_files(self)?);
        let modules = self.read_json("modules.json")?.unwrap_or_default();
        let paths = modules.as_array().into_iter().flatten();
        let paths = paths.filter_map(|module| module["path"].as_str());
        files.extend(paths.map(|path| format!("{path}/config.json")));
        Ok(files)
    }
}

/// The files of a model that are read in addition to its weights.
const CONFIG_FILES: [&str; 7] = [
    "chat_template.jinja",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Whether a name has the form of a hub id, `OWNER/NAME[@REVISION]`, and is not an existing path.
pub fn is_hub_id(name: &str) -> bool {
    let (id, _) = name.split_once('@').unwrap_or((name, ""));
    let parts: Vec<&str> = id.split('/').collect();
    parts.len() == 2
        && parts
            .iter()
            .all(|part| !part.is_empty() && !part.starts_with('.'))
        && !Path::new(name).exists()
}

/// The hub id and commit of a folder of the hub's cache: `models--OWNER--NAME/snapshots/COMMIT`.
fn cached_snapshot(folder: &Path) -> Option<(String, String)> {
    let commit = folder.file_name()?.to_str()?;
    let snapshots = folder.parent()?;
    let repository = snapshots.parent()?.file_name()?.to_str()?;
    let id = repository.strip_prefix("models--")?;
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (snapshots.file_name()? == "snapshots" && is_commit)
        .then(|| (id.replacen("--", "/", 1), commit.to_owned()))
}

/// The hub id of a folder of the hub's cache, else the name of the folder.
fn folder_name(folder: &Path) -> String {
    if let Some((id, _)) = cached_snapshot(folder) {
        return id;
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_depends_on_loaded_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let revision = || {
            let files = ModelFiles::find_model(folder.path().to_str().unwrap()).unwrap();
            files.revision().unwrap()
        };
        write("config.json", "{}");
        write("model.safetensors", "x");
        let mut before = revision();
        for file in ["run.json", "out/adapter_model.safetensors", "README.md"] {
            write(file, "y");
            assert_eq!(revision(), before, "{file}");
        }
        write("modules.json", "[{\"path\": \"1_Pooling\"}]");
        for file in [
            "chat_template.jinja",
            "tokenizer.json",
            "model.safetensors",
            "1_Pooling/config.json",
        ] {
            write(file, "{\"other\": 1}");
            assert_ne!(revision(), before, "{file}");
            before = revision();
        }
    }
}
