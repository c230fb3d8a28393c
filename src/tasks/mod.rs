//! The tasks of fine-tuning (docs/spec.md section 3), without a GPU.
//!
//! `table_text` (rows of TSV and CSV) → [`example_file`] (rows of a file) → [`columns`] ([`Record`]s: texts and an answer) → [`transform`] (token sequences and
//! batches); [`labels`] warns about labels that look wrong; [`metrics`] compares a model's answers with the true ones;
//! [`baselines`] are what simple methods reach.

pub mod baselines;
pub mod columns;
pub mod example_file;
pub mod labels;
pub mod metrics;
pub mod record;
mod table_text;
pub mod transform;

pub use crate::data::batch::Answer;
pub use columns::{AnswerColumn, Columns, Inputs};
pub use record::{Record, Texts};
pub use transform::{EncodedExample, EncodedExamples, encode, pack};
