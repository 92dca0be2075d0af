//! Where does a model run, and in which precision?

use candle_core::{DType, Device};

use crate::{Error, Result};

/// Where and how a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// On the CPU, in f32.
    Cpu,
    /// On the CUDA device of that number.
    Cuda(usize, Precision),
}

/// In which type a GPU holds weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// What models are trained in today.
    Bf16,
    /// For GPUs older than Ampere, which have no bf16.
    F16,
    /// As on the CPU.
    F32,
}

impl Place {
    /// Reads `cpu`, `cuda:N`, or `cuda:N:f16` and its like; bf16 where a GPU's type is not told.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn named(name: &str) -> Result<Self> {
        Self::read(name).ok_or_else(|| Error::Unknown {
            what: "device",
            given: name.to_owned(),
            known: "cpu, cuda:0, cuda:1, ..., and cuda:0:f16 or cuda:0:f32 in place of bf16"
                .to_owned(),
        })
    }

    fn read(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split(':').collect();
        let (number, precision) = match parts[..] {
            ["cpu"] => return Some(Self::Cpu),
            ["cuda"] => ("0", Precision::Bf16),
            ["cuda", number] | ["cuda", number, "bf16"] => (number, Precision::Bf16),
            ["cuda", number, "f16"] => (number, Precision::F16),
            ["cuda", number, "f32"] => (number, Precision::F32),
            _ => return None,
        };
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        is_plain
            .then(|| number.parse().ok())
            .flatten()
            .map(|number| Self::Cuda(number, precision))
    }

    /// Opens the device.
    ///
    /// # Errors
    /// When this build has no CUDA, or this machine no such GPU.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(..) if !cfg!(feature = "cuda") => Err(Error::Device {
                name: self.to_string(),
                problem: "this binary is built without CUDA".to_owned(),
                remedy: "run with --device cpu, or build with --features cuda (README)".to_owned(),
            }),
            Self::Cuda(number, _) => Device::new_cuda(number).map_err(|error| Error::Device {
                name: self.to_string(),
                problem: format!("cannot be opened ({error})"),
                remedy: "look at `nvidia-smi`, or run with --device cpu".to_owned(),
            }),
        }
    }

    /// The type in which weights and activations are held.
    pub const fn precision(self) -> DType {
        match self {
            Self::Cpu | Self::Cuda(_, Precision::F32) => DType::F32,
            Self::Cuda(_, Precision::Bf16) => DType::BF16,
            Self::Cuda(_, Precision::F16) => DType::F16,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number, Precision::Bf16) => write!(f, "cuda:{number}"),
            Self::Cuda(number, Precision::F16) => write!(f, "cuda:{number}:f16"),
            Self::Cuda(number, Precision::F32) => write!(f, "cuda:{number}:f32"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Precision};

    #[test]
    fn names_are_read_back() {
        for name in ["cpu", "cuda:0", "cuda:11", "cuda:1:f16", "cuda:0:f32"] {
            assert_eq!(Place::named(name).unwrap().to_string(), name);
        }
        let bf16 = Place::Cuda(0, Precision::Bf16);
        for name in ["cuda", "cuda:0", "cuda:0:bf16"] {
            assert_eq!(Place::named(name).unwrap(), bf16);
        }
        let wrong = [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:x",
            "cuda0",
            "cuda:+1",
            "cpu:f16",
            "cuda:0:f64",
            "cuda:0:f16:1",
        ];
        for name in wrong {
            assert!(Place::named(name).is_err(), "{name}");
        }
    }
}
