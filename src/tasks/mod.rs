//! The tasks of fine-tuning (docs/spec.md section 3), without a GPU.
//!
//! [`example_file`] (rows of a file) → [`columns`] ([`Record`]s: texts and an answer) → [`transform`] (token sequences and
//! batches); [`metrics`] compares a model's answers with the true ones.

pub mod columns;
pub mod example_file;
pub mod metrics;
pub mod record;
pub mod transform;

pub use crate::data::batch::Answer;
pub use columns::{AnswerColumn, Columns, Inputs};
pub use record::{Record, Texts};
pub use transform::{EncodedExample, EncodedExamples, encode, pack};
