//! Device: the CPU or a CUDA GPU, and the dtype of the model on it.

use candle_core::{DType, Device};

use crate::{Error, Result};

/// Device and dtype that a model runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// The CPU, in f32.
    Cpu,
    /// The CUDA device with that index, in bf16, f16 or f32.
    Cuda(usize, DType),
}

impl DeviceSpec {
    /// Parses `cpu`, `cuda:N` (bf16), `cuda:N:f16` (for GPUs older than Ampere, which have no bf16) or
    /// `cuda:N:f32`.
    ///
    /// # Errors
    /// When `name` has none of these forms.
    pub fn parse(name: &str) -> Result<Self> {
        Self::parse_parts(name).ok_or_else(|| Error::Unknown {
            what: "device",
            given: name.to_owned(),
            known: "cpu, cuda:0, cuda:1, ..., and cuda:0:f16 or cuda:0:f32 in place of bf16"
                .to_owned(),
        })
    }

    /// [`Self::parse`]; `None` if the name is invalid.
    fn parse_parts(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split(':').collect();
        let (number, precision) = match parts[..] {
            ["cpu"] => return Some(Self::Cpu),
            ["cuda"] => ("0", "bf16"),
            ["cuda", number] => (number, "bf16"),
            ["cuda", number, precision @ ("bf16" | "f16" | "f32")] => (number, precision),
            _ => return None,
        };
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_plain)?;
        Some(Self::Cuda(number, precision.parse().ok()?))
    }

    /// Opens the device.
    ///
    /// # Errors
    /// When this build has no CUDA support, or this machine no such GPU.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(..) if !cfg!(feature = "cuda") => Err(Error::Device {
                name: self.to_string(),
                message: "this binary is built without CUDA".to_owned(),
                hint: "run with --device cpu, or build with --features cuda (README)".to_owned(),
            }),
            Self::Cuda(number, _) => Device::new_cuda(number).map_err(|error| Error::Device {
                name: self.to_string(),
                message: format!("cannot be opened ({error})"),
                hint: "look at `nvidia-smi`, or run with --device cpu".to_owned(),
            }),
        }
    }

    /// The dtype of weights and activations.
    pub const fn dtype(self) -> DType {
        match self {
            Self::Cpu => DType::F32,
            Self::Cuda(_, precision) => precision,
        }
    }
}

impl std::fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number, DType::BF16) => write!(f, "cuda:{number}"),
            Self::Cuda(number, precision) => write!(f, "cuda:{number}:{}", precision.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DType, DeviceSpec};

    #[test]
    fn parse_and_display_are_inverse() {
        for name in ["cpu", "cuda:0", "cuda:11", "cuda:1:f16", "cuda:0:f32"] {
            assert_eq!(DeviceSpec::parse(name).unwrap().to_string(), name);
        }
        let bf16 = DeviceSpec::Cuda(0, DType::BF16);
        for name in ["cuda", "cuda:0", "cuda:0:bf16"] {
            assert_eq!(DeviceSpec::parse(name).unwrap(), bf16);
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
            assert!(DeviceSpec::parse(name).is_err(), "{name}");
        }
    }
}
