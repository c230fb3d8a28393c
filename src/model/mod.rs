//! The model on a device: its parameters and activations, the decoder's forward and backward pass, training, inference and
//! generation.

pub mod activations;
pub mod attention;
pub mod cache;
pub mod decoder;
mod exchange;
pub mod generate;
mod half_copies;
pub mod inference;
pub mod learning;
mod lm_head;
pub mod parameters;
pub mod plan;
pub mod sampling;
pub mod slots;
mod task_head;
pub mod tensors;
#[cfg(feature = "tokenizers")]
mod text;
pub mod token;
pub mod token_specs;
pub mod training;

pub use activations::Capacity;
pub use attention::LayerAttention;
pub use cache::Cache;
pub use exchange::accumulated_bytes;
pub use generate::Generator;
pub use inference::{Inference, Prediction};
pub use learning::Learning;
pub use parameters::{Parameters, initial_parameters};
pub use plan::{Memory, attention_bytes, longest, longest_with_scores, plan, plan_mixed, step_flops};
pub use sampling::Sampling;
pub use training::{Dispatches, Moments, StepResult, StepState, Training, TrainingOptions};
