//! Pretraining on text: reading and tokenizing text, the objective, and evaluation of a model on a text.

pub mod evaluate;
pub mod objective;
pub mod prepare;
pub mod tokens;

pub use evaluate::Evaluation;
pub use objective::PretrainingState;
pub use prepare::Pretraining;
