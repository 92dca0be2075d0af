//! Comparisons of models over prompts: paired differences with tests, and distances across models.

pub mod comparisons;
pub mod cross_model_distance;
pub mod length_adjusted;
