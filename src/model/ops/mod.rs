//! Tensor operations that encoders and decoders share: linear layers, norms, activations, rotary
//! position embeddings; candle tensors on any device.
//!
//! candle's fused norm, softmax and rotation silently drop gradients: where a gradient is tracked, each
//! operation uses unfused candle operations instead.

pub mod activation;
pub mod linear;
pub mod norm;
pub mod rotary;
