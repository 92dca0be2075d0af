//! PEFT's names of adapter files and tensors, as PEFT, TRL and vLLM read them.

/// The file of the adapter's configuration.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// The file of the adapter's tensors.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// The tensor of a reward model's head, shape (1, H), saved in full as one of `modules_to_save`.
pub const SCORE_HEAD: &str = "base_model.model.score.weight";

/// The path of a layer's projection, `model.layers.N.self_attn.q_proj`.
pub fn module_path(layer: usize, projection: &str) -> String {
    format!("model.layers.{layer}.{projection}")
}

/// The projection in a module path: `self_attn.q_proj` for `model.layers.N.self_attn.q_proj`.
pub fn projection_of(module_path: &str) -> &str {
    module_path.splitn(4, '.').last().unwrap_or_default()
}

/// The names of the tensors A and B of a module.
pub fn factor_names(module_path: &str) -> [String; 2] {
    ["lora_A", "lora_B"].map(|factor| format!("base_model.model.{module_path}.{factor}.weight"))
}
