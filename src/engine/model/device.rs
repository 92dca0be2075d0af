//! Where does a model run, and in which precision?

use candle_core::{DType, Device};

use crate::{Error, Result};

/// Where and how a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// On the CPU, in f32.
    Cpu,
    /// On the CUDA device of that number, in bf16 unless told otherwise.
    Cuda(usize),
}

impl Place {
    /// Reads `cpu` or `cuda:N`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn named(name: &str) -> Result<Self> {
        let number = match name {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| Error::Unknown {
            what: "device",
            given: name.to_owned(),
            known: "cpu, cuda:0, cuda:1, ...".to_owned(),
        })
    }

    /// Opens the device.
    ///
    /// # Errors
    /// When this build has no CUDA, or this machine no such GPU.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(Error::Device {
                name: self.to_string(),
                problem: "this binary is built without CUDA".to_owned(),
                remedy: "run with --device cpu, or build with --features cuda (README)".to_owned(),
            }),
            Self::Cuda(number) => Device::new_cuda(number).map_err(|error| Error::Device {
                name: self.to_string(),
                problem: format!("cannot be opened ({error})"),
                remedy: "look at `nvidia-smi`, or run with --device cpu".to_owned(),
            }),
        }
    }

    /// The type in which weights and activations are held.
    pub const fn precision(self) -> DType {
        match self {
            Self::Cpu => DType::F32,
            Self::Cuda(_) => DType::BF16,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn names_are_read_back() {
        for name in ["cpu", "cuda:0", "cuda:11"] {
            assert_eq!(Place::named(name).unwrap().to_string(), name);
        }
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(Place::named(name).is_err(), "{name}");
        }
    }
}
