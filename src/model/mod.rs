//! The decoder: parameters in slabs, activations by name, forward and backward door by door; a step as programs; inference; what follows a prompt.

pub mod activations;
pub mod attention;
pub mod cache;
pub mod decoder;
pub mod generate;
pub mod inference;
pub mod parameters;
pub mod sampling;
pub mod token;
pub mod training;

pub use activations::{Capacity, Memory, attention_bytes, longest, longest_with_scores, plan, step_flops};
pub use attention::LayerAttention;
pub use generate::Generator;
pub use inference::Inference;
pub use parameters::{Parameters, initial_parameters};
pub use sampling::Sampling;
pub use training::{Moments, Options, StepState, Training};
