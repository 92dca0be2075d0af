//! The trainer plug-in: `LoRA`, losses, backward, the loop. Nothing is here yet.
