//! Tensor operations that encoders and decoders share: linear layers, norms, activations, rotary
//! position embeddings; candle tensors on any device.
//!
//! candle's fused norm, softmax and rotation drop gradients in silence: where one is tracked, each
//! operation takes the unfused way, which keeps it.

pub mod activation;
pub mod linear;
pub mod norm;
pub mod rotary;
