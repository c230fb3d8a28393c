//! Fine-tuning on a task: examples, the objective, and the scores of a model's answers.

mod columns;
pub mod examples;
pub mod objective;
pub mod prepare;
pub mod scores;
pub mod state;

#[cfg(feature = "cli")]
pub(crate) use columns::column_keys;
pub use examples::Examples;
pub use prepare::FineTuning;
pub use scores::Scores;
pub use state::{Best, FineTuningState};
