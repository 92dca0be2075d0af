//! Out-of-memory errors: detection, and messages that name the allocation, its size and a remedy.

use candle_core::{Device, DeviceLocation};

use crate::Error;

/// Whether an error is out of memory, by the messages of the CUDA driver and of cuBLAS.
pub fn is_oom(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    let messages = ["out of memory", "out_of_memory", "alloc_failed"];
    messages.iter().any(|message| text.contains(message))
}

/// Turns an out-of-memory error into one that names the device and the allocation `what`; returns any other
/// error unchanged.
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

/// A number of bytes as text, in MiB, rounded up.
pub fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_out_of_memory_errors_are_rewritten() {
        let rewritten = |cause: &str| {
            let error = candle_core::Error::Msg(cause.to_owned()).into();
            oom_error(
                error,
                &Device::Cpu,
                || mebibytes((3 << 20) + 1),
                "take less",
            )
            .to_string()
        };
        let expected = "device cpu: has too little memory for 4 MiB: take less";
        for cause in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ] {
            assert_eq!(rewritten(cause), expected);
        }
        assert_eq!(mebibytes(16 << 30), "16384 MiB");
        assert_eq!(
            rewritten("shape mismatch"),
            "the model failed: shape mismatch"
        );
    }
}
