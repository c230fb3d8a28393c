//! Training runs: settings, the engine, the objectives, and the files that a run writes.
//!
//! [`engine`] trains any [`Objective`]: [`text::Pretraining`] on a text, [`task::FineTuning`] on the examples of a task.

mod checkpoint;
mod clock;
pub mod comparison;
pub mod engine;
pub mod memory;
pub mod metrics;
pub mod objective;
pub mod observer;
mod options;
pub mod prefetch;
pub mod ranks;
pub mod resume;
pub mod run_folder;
pub mod run_path;
pub mod sample;
pub mod saved_kernels;
pub mod schedule;
pub mod settings;
pub mod speed;
pub mod state;
#[cfg(feature = "tasks")]
pub mod task;
pub mod tensorboard;
#[cfg(feature = "tokenizers")]
pub mod text;
mod utilization;

pub use engine::{Trained, resume, train};
pub use metrics::{EvaluationLine, Line, Metrics, StepLine};
pub use objective::Objective;
pub use observer::{NoObserver, Observer};
pub use options::optimizer_options;
pub use ranks::Devices;
pub use resume::StoppedRun;
pub use schedule::Schedule;
pub use settings::{Layers, Length, Settings, Stage, TaskSettings};
#[cfg(feature = "tasks")]
pub use task::FineTuning;
#[cfg(feature = "tokenizers")]
pub use text::{Evaluation, Pretraining};
