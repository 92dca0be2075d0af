//! Model files: looked up in a local folder, in a repository of the Hugging Face hub or in a GGUF file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::gguf::{self, GgufFile};
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
    /// A GGUF file. With a folder, a file of that takes precedence over one made of metadata.
    Gguf(Arc<GgufFile>, Option<PathBuf>),
}

impl ModelFiles {
    /// Finds a model by the path of a folder or a GGUF file, or by a hub id `OWNER/NAME[@REVISION]`. A folder
    /// without other weights may hold one GGUF file.
    ///
    /// # Errors
    /// When there is no such folder or file and no such repository on the hub.
    pub fn find_model(reference: &str) -> Result<Self> {
        let path = Path::new(reference);
        if path.is_file() && is_gguf(path) {
            return Self::gguf_file(path, None);
        }
        if path.is_dir() {
            if let Some(file) = gguf_in(path)? {
                return Self::gguf_file(&file, Some(path));
            }
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
                "name a folder with config.json, a GGUF file, or a hub id OWNER/NAME[@REVISION]",
            ));
        }
        let repository = hub::model(reference)?;
        Ok(Self {
            name: repository.id.clone(),
            source: ModelSource::Hub(repository),
        })
    }

    /// The model in a GGUF file, with the other files of its folder if that is what was named.
    fn gguf_file(path: &Path, folder: Option<&Path>) -> Result<Self> {
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        Ok(Self {
            name: stem.to_string_lossy().into_owned(),
            source: ModelSource::Gguf(
                Arc::new(GgufFile::open(path)?),
                folder.map(Path::to_path_buf),
            ),
        })
    }

    /// The GGUF file that the model's weights are in, if that is where they are.
    pub fn gguf(&self) -> Option<&Arc<GgufFile>> {
        match &self.source {
            ModelSource::Gguf(file, _) => Some(file),
            _ => None,
        }
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
            ModelSource::Gguf(_, folder) => {
                let path = folder.as_ref().map(|folder| folder.join(file));
                Ok(path.filter(|path| path.is_file()))
            }
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

    /// The JSON value in a file, or made of the metadata of a GGUF file; `None` if the model has no such file.
    ///
    /// # Errors
    /// When the file is not valid JSON.
    pub fn read_json(&self, file: &str) -> Result<Option<Value>> {
        // The configuration is that of the weights, whatever else lies in the folder.
        let found = match (self.gguf(), file) {
            (Some(_), "config.json") => None,
            _ => self.find(file)?,
        };
        let Some(path) = found else {
            return self.gguf().map_or(Ok(None), |gguf| gguf.json_file(file));
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

    /// The path that errors about a file name: the file's, or that of the GGUF file.
    ///
    /// # Errors
    /// When the file is missing; the message names it.
    pub fn origin(&self, file: &str) -> Result<PathBuf> {
        match self.gguf() {
            Some(gguf) => Ok(gguf.path().to_path_buf()),
            None => self.require(file),
        }
    }

    /// The error for a missing file.
    pub fn missing_file_error(&self, file: &str) -> Error {
        match &self.source {
            ModelSource::Folder(folder) => Error::input(
                folder,
                format!("has no {file}"),
                "name the folder of a complete model",
            ),
            ModelSource::Gguf(gguf, _) => Error::input(
                gguf.path(),
                format!("comes without {file}"),
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
    /// absolute path of the folder or GGUF file.
    ///
    /// # Errors
    /// When the folder no longer exists.
    pub fn base_model_ref(&self) -> Result<(String, Option<String>)> {
        let folder = match &self.source {
            ModelSource::Hub(hub) => return Ok((hub.id.clone(), Some(hub.commit.clone()))),
            ModelSource::Folder(folder) => folder.as_path(),
            ModelSource::Gguf(file, folder) => folder.as_deref().unwrap_or(file.path()),
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
            ModelSource::Folder(folder) => Some(folder),
            ModelSource::Gguf(..) => None,
        };
        if let Some(folder) = folder {
            let absolute = folder.canonicalize().map_err(Error::io("read", folder))?;
            if let Some((_, commit)) = cached_snapshot(&absolute) {
                return Ok(commit);
            }
        }
        let mut hasher = Sha256::new();
        if let Some(gguf) = self.gguf() {
            hasher.update(sha256_file_digest(gguf.path())?);
        }
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

/// Whether a path has the extension of GGUF files.
fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == gguf::EXTENSION)
}

/// The GGUF file of a folder without other weights; `None` if there is none.
///
/// # Errors
/// When there are several.
fn gguf_in(folder: &Path) -> Result<Option<PathBuf>> {
    if weights::CANDIDATES
        .iter()
        .any(|name| folder.join(name).is_file())
    {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if is_gguf(&path) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    match &found[..] {
        [] => Ok(None),
        [file] => Ok(Some(file.clone())),
        [first, ..] => Err(Error::input(
            folder,
            format!("has {} GGUF files", found.len()),
            format!("name one of them, for example {}", first.display()),
        )),
    }
}

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
