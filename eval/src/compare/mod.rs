//! Comparisons of models over prompts: paired differences with tests, distances across models, how often two
//! stories are closer than two people's, the words and phrases that a model uses more than people do, and the curves
//! of adapters at several scales.

pub mod adapter_curve;
pub mod closer_than_people;
pub mod comparisons;
pub mod cross_model_distance;
pub mod length_adjusted;
pub mod overused_terms;
pub mod terms;
