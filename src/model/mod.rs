//! The decoder: parameters in slabs, activations by name, forward and backward door by door; a step as programs; inference; what follows a prompt.

pub mod activations;
pub mod attention;
pub mod cache;
pub mod decoder;
pub mod generate;
pub mod inference;
pub mod learning;
pub mod parameters;
pub mod sampling;
pub mod slots;
mod task_head;
pub mod token;
pub mod training;

pub use activations::{Capacity, Memory, attention_bytes, longest, longest_with_scores, plan, step_flops};
pub use attention::LayerAttention;
pub use cache::Cache;
pub use generate::Generator;
pub use inference::{Inference, Prediction};
pub use learning::Learning;
pub use parameters::{Parameters, initial_parameters};
pub use sampling::Sampling;
pub use training::{Dispatches, Moments, StepResult, StepState, Training, TrainingOptions};
