//! The configuration of a model, under Hugging Face's names (docs/spec.md sections 1 and 6), and the tensors it implies.

mod attention;
mod choice;
mod model;
mod parameters;
mod task;
mod tensors;

pub use attention::{AttentionKind, KvGroups, KvNull, KvScale};
pub(crate) use choice::choice;
pub use model::{MAX_SIZE, ModelConfig, depth_of_preset};
pub use parameters::{LayerTensor, ParameterKind, ParameterShape, Part};
pub use task::{Answers, Task, TaskKind};
