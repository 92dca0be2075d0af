//! Model families: what a decoder's layers compute besides what the numbers of config.json say.

use crate::ops::activation::Activation;

/// A family of decoders. All are read by one decoder; the methods say where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 to 3.2 (Dubey et al. 2024), SmolLM2 and Mistral (Jiang et al. 2023): two norms a layer, `SiLU`.
    Llama,
    /// Qwen 2 and 2.5 (Qwen Team 2024): Llama with biases on queries, keys and values.
    Qwen2,
    /// Qwen 3 (Qwen Team 2025): Llama with norms of queries and keys.
    Qwen3,
    /// Gemma 2 (Gemma Team 2024): four norms of `1 + w` a layer, tanh GELU, soft caps, every second layer with a
    /// sliding window.
    Gemma2,
    /// Gemma 3, text only (Gemma Team 2025): Gemma 2 without soft caps, with norms of queries and keys, one full
    /// layer after five with a sliding window, and another RoPE base in each of the two kinds.
    Gemma3,
}

/// The families by the `model_type` of config.json.
const MODEL_TYPES: [(&str, Family); 6] = [
    ("llama", Family::Llama),
    ("mistral", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma2", Family::Gemma2),
    ("gemma3_text", Family::Gemma3),
];

impl Family {
    /// The family of a `model_type`; `None` if it is not supported.
    pub fn of_model_type(model_type: &str) -> Option<Self> {
        let mut known = MODEL_TYPES.iter();
        known
            .find(|(name, _)| *name == model_type)
            .map(|(_, family)| *family)
    }

    /// The supported values of `model_type`, as an error lists them.
    pub fn known() -> String {
        MODEL_TYPES.map(|(name, _)| name).join(", ")
    }

    /// Whether this is Gemma 2 or 3: embeddings scaled by `sqrt(H)`, norms of `1 + w` before and after attention
    /// and MLP, tied embeddings.
    pub const fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether queries and keys have an RMS norm over each head before RoPE (Henry et al. 2020).
    pub const fn has_qk_norm(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// The activation function of the MLP.
    pub const fn activation(self) -> Activation {
        if self.is_gemma() {
            Activation::GeluTanh
        } else {
            Activation::Silu
        }
    }

    /// The head size where config.json has none (transformers: the configuration's default); `None` is the
    /// hidden size divided by the number of heads.
    pub(super) const fn default_head_dim(self) -> Option<usize> {
        match self {
            Self::Llama | Self::Qwen2 => None,
            Self::Qwen3 => Some(128),
            Self::Gemma2 | Self::Gemma3 => Some(256),
        }
    }
}
