//! Fine-tuning's tasks (SPEC 3) on the host: [`columns`] of a file to records with answers, [`transform`] to token
//! sequences, [`metrics`] of what a model answered.

pub mod columns;
pub mod metrics;
pub mod transform;

pub use columns::{AnswerColumn, Columns, Inputs, Record, Texts};
pub use transform::{Encoded, Example, encode, pack};

/// What is right for an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A label's id, or a candidate's place.
    Class(u32),
    /// A number.
    Score(f32),
    /// Not known: the file does not say it.
    None,
}
