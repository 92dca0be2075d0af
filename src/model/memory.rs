//! What is said where a device's memory runs out? What was to fit in, how large that is, and what to do.

use candle_core::{Device, DeviceLocation};

use crate::Error;

/// Whether a device failed because its memory ran out: as the driver says it, and as cuBLAS does.
pub fn is_oom(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    let said = ["out of memory", "out_of_memory", "alloc_failed"];
    said.iter().any(|words| text.contains(words))
}

/// The error where a device's memory ran out for `what`; any other as it is.
pub fn oom_error(
    error: Error,
    device: &Device,
    what: impl FnOnce() -> String,
    hint: &str,
) -> Error {
    match error {
        Error::Candle(cause) if is_oom(&cause) => {}
        error => return error,
    }
    Error::Device {
        name: match device.location() {
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            _ => "cpu".to_owned(),
        },
        message: format!("has too little memory for {}", what()),
        hint: hint.to_owned(),
    }
}

/// A number of bytes in MiB, as a person reads it.
pub fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_want_of_memory_is_told_as_such() {
        let told = |cause: &str| {
            let error = candle_core::Error::Msg(cause.to_owned()).into();
            oom_error(
                error,
                &Device::Cpu,
                || mebibytes((3 << 20) + 1),
                "take less",
            )
            .to_string()
        };
        let known = "device cpu: has too little memory for 4 MiB: take less";
        for cause in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ] {
            assert_eq!(told(cause), known);
        }
        assert_eq!(mebibytes(16 << 30), "16384 MiB");
        assert_eq!(told("shape mismatch"), "the model failed: shape mismatch");
    }
}
