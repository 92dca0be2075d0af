//! Tensors of a GGUF file under transformers' names, dequantised, in transformers' layout.

use std::fs::File;
use std::io::BufReader;

use candle_core::{DType, Device, Tensor};

use super::{GgufFile, integer};
use crate::{Error, Result};

/// The last parts of the names of a layer's tensors in transformers and in llama.cpp.
const LAYER_TENSORS: [(&str, &str); 13] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

impl GgufFile {
    /// The shape of a tensor by its name in transformers; `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let info = self.content.tensor_infos.get(&self.name_of(name)?)?;
        Some(info.shape.dims().to_vec())
    }

    /// The number of values of all tensors.
    pub fn values(&self) -> usize {
        let infos = self.content.tensor_infos.values();
        infos.map(|info| info.shape.elem_count()).sum()
    }

    /// Loads a tensor by its name in transformers, dequantised to f32, on the device.
    ///
    /// # Errors
    /// When there is no such tensor, the file is cut off, or the device is out of memory.
    pub fn tensor(&self, name: &str, device: &Device) -> candle_core::Result<Tensor> {
        let Some(stored) = self.name_of(name) else {
            candle_core::bail!("no tensor {name}");
        };
        let tensor = self.dequantised(&stored)?;
        let tensor = match self.architecture().unwrap_or_default() {
            "llama" if name.contains(".self_attn.q_proj.") => {
                self.by_halves(&tensor, "attention.head_count")?
            }
            "llama" if name.contains(".self_attn.k_proj.") => {
                self.by_halves(&tensor, "attention.head_count_kv")?
            }
            // llama.cpp stores Gemma's norms as `1 + w`.
            "gemma2" | "gemma3" if name.ends_with("norm.weight") => (tensor - 1.0)?,
            _ => tensor,
        };
        tensor.to_device(device)
    }

    /// The divisors of Llama 3's RoPE frequencies, if the model has them.
    pub(super) fn rope_divisors(&self) -> Result<Option<Vec<f32>>> {
        const NAME: &str = "rope_freqs.weight";
        if !self.content.tensor_infos.contains_key(NAME) {
            return Ok(None);
        }
        let tensor = self.dequantised(NAME).and_then(|tensor| tensor.to_vec1());
        tensor.map(Some).map_err(|error| {
            let message = format!("tensor `{NAME}` cannot be read ({error})");
            Error::input(self.path(), message, "fetch the model again")
        })
    }

    /// Loads a tensor by llama.cpp's name, in f32, on the CPU.
    fn dequantised(&self, stored: &str) -> candle_core::Result<Tensor> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let tensor = self.content.tensor(&mut file, stored, &Device::Cpu)?;
        tensor.dequantize(&Device::Cpu)?.to_dtype(DType::F32)
    }

    /// llama.cpp pairs value `2i` of a Llama head with value `2i + 1` for RoPE, transformers value `i` with
    /// `i + D/2`: orders the rows of queries or keys as transformers does.
    fn by_halves(&self, weight: &Tensor, heads: &str) -> candle_core::Result<Tensor> {
        let stored = self
            .setting(heads)
            .or_else(|| self.setting("attention.head_count"));
        let Some(heads) = stored.and_then(integer).filter(|heads| *heads > 0) else {
            candle_core::bail!("the number of heads is missing");
        };
        let rows = weight.dim(0)?;
        let width = weight.elem_count() / rows;
        weight
            .reshape((heads, rows / heads / 2, 2, width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape(weight.shape())
    }

    /// llama.cpp's name of a tensor; `None` for one that a decoder does not have.
    fn name_of(&self, name: &str) -> Option<String> {
        let (path, kind) = name.rsplit_once('.')?;
        let stored = match path {
            "model.embed_tokens" => "token_embd".to_owned(),
            "model.norm" => "output_norm".to_owned(),
            "lm_head" => "output".to_owned(),
            _ => {
                let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
                let is_gemma = matches!(self.architecture().ok()?, "gemma2" | "gemma3");
                let part = if part == "post_attention_layernorm" && !is_gemma {
                    // The norm before the MLP has this name in all other families.
                    "pre_feedforward_layernorm"
                } else {
                    part
                };
                let (_, stored) = LAYER_TENSORS.iter().find(|(name, _)| *name == part)?;
                format!("blk.{layer}.{stored}")
            }
        };
        Some(format!("{stored}.{kind}"))
    }
}
