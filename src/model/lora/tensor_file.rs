//! Tensor files: safetensors in f32 with a checksum of their tensors in the metadata, which readers of other
//! programs ignore.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};
use polyphony_io::atomic::write_atomic;
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::panics;

/// The key of the checksum in the metadata.
const CHECKSUM: &str = "polyphony_sha256";

/// The number of bytes of the header's length, at the start of a file.
const LENGTH: usize = size_of::<u64>();

/// The metadata of a tensor file: texts by name.
pub type Metadata = BTreeMap<String, String>;

/// Writes tensors in f32 as a safetensors file, sorted by name, with PyTorch's metadata, `metadata`, and a
/// checksum of both.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(
    file: &Path,
    names: &[String],
    values: &[Tensor],
    metadata: &Metadata,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(values.len());
    for value in values {
        let value = value
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        bytes.push(
            value
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    }
    let failed = |error: safetensors::SafeTensorError| {
        Error::Internal(format!("{} cannot be serialised ({error})", file.display()))
    };
    let mut views = BTreeMap::new();
    for ((name, value), bytes) in names.iter().zip(values).zip(&bytes) {
        let view = TensorView::new(Dtype::F32, value.dims().to_vec(), bytes).map_err(failed)?;
        views.insert(name.clone(), view);
    }
    let mut all = metadata.clone();
    all.insert("format".to_owned(), "pt".to_owned());
    all.insert(CHECKSUM.to_owned(), checksum(&views, &all));
    let serialised = safetensors::serialize(views, None).map_err(failed)?;
    write_atomic(file, &with_metadata(&serialised, &all)?)
}

/// A serialised file with metadata, in the order of their names: safetensors would write them in a random one.
fn with_metadata(serialised: &[u8], metadata: &Metadata) -> Result<Vec<u8>> {
    let header = serialised.first_chunk::<LENGTH>().and_then(|length| {
        let length = u64::from_le_bytes(*length) as usize;
        let rest = serialised.get(LENGTH..)?;
        let (header, data) = rest.split_at_checked(length)?;
        let tensors = header.trim_ascii_end().strip_prefix(b"{")?;
        Some((tensors, data))
    });
    let Some((tensors, data)) = header else {
        return Err(Error::Internal("safetensors wrote no header".to_owned()));
    };
    let mut header =
        format!("{{\"__metadata__\":{}", serde_json::to_string(metadata)?).into_bytes();
    if tensors != b"}" {
        header.push(b',');
    }
    header.extend_from_slice(tensors);
    // The values begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length[..], &header, data].concat())
}

/// Reads all tensors of a safetensors file, on the CPU, and its metadata. The file of another program has no
/// checksum and is not checked.
///
/// # Errors
/// When the file cannot be read, is damaged, or is no safetensors file.
pub fn read_tensors(file: &Path) -> Result<(HashMap<String, Tensor>, Metadata)> {
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let hint = "restore it from a copy, or make it again";
    let invalid =
        |why: String| Error::input(file, format!("cannot be read as safetensors ({why})"), hint);
    let parsed = panics::caught(|| {
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let tensors: BTreeMap<String, TensorView<'_>> = SafeTensors::deserialize(&bytes)?
            .tensors()
            .into_iter()
            .collect();
        Ok::<_, safetensors::SafeTensorError>((tensors, header.metadata().clone()))
    });
    let (views, metadata) = parsed
        .map_err(invalid)?
        .map_err(|error| invalid(error.to_string()))?;
    let mut metadata: Metadata = metadata.unwrap_or_default().into_iter().collect();
    if let Some(expected) = metadata.remove(CHECKSUM) {
        let found = checksum(&views, &metadata);
        if found != expected {
            let message =
                format!("is damaged: its checksum is {expected}, its tensors' is {found}");
            return Err(Error::input(file, message, hint));
        }
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| {
        invalid(
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    })?;
    Ok((tensors, metadata))
}

/// The SHA-256 of tensors (name, type, shape, values) and metadata, each in the order of its names.
fn checksum(tensors: &BTreeMap<String, TensorView<'_>>, metadata: &Metadata) -> String {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (name, tensor) in tensors {
        part(name.as_bytes());
        part(format!("{:?} {:?}", tensor.dtype(), tensor.shape()).as_bytes());
        part(tensor.data());
    }
    for (name, value) in metadata {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_a_tensor_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.safetensors");
        let names = ["b".to_owned(), "a".to_owned()];
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let values = [tensor(&[1.0, 2.0]), tensor(&[3.0])];
        let metadata = Metadata::from([("r".to_owned(), "8".to_owned())]);
        write_tensors(&file, &names, &values, &metadata).unwrap();
        let (read, about) = read_tensors(&file).unwrap();
        assert_eq!(read["b"].to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(about["r"], "8");
        let bytes = fs::read(&file).unwrap();
        let key = CHECKSUM.as_bytes();
        let key = bytes.windows(key.len()).position(|at| at == key).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged).unwrap();
            // Damage of the checksum's name leaves the tensors as they were.
            let is_name = (key..key + CHECKSUM.len()).contains(&at);
            match read_tensors(&file) {
                Ok((read, _)) => {
                    assert!(is_name, "byte {at}");
                    assert_eq!(read["b"].to_vec1::<f32>().unwrap(), [1.0, 2.0]);
                }
                Err(error) => assert!(error.to_string().contains("a.safetensors"), "{error}"),
            }
        }
    }
}
