//! Fine-tuning's tasks (SPEC 3) on the host: [`columns`] of a file to records with answers, [`transform`] to token
//! sequences, [`metrics`] of what a model answered.

pub mod columns;
pub mod metrics;
pub mod transform;

pub use crate::data::batch::Answer;
pub use columns::{AnswerColumn, Columns, Inputs, Record, Texts};
pub use transform::{Encoded, Example, encode, pack};
