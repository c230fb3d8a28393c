//! A run: its settings, its learning rate, the lines it leaves behind.

mod clock;
pub mod metrics;
mod prefetch;
pub mod resume;
pub mod run_folder;
pub mod sample;
pub mod schedule;
pub mod settings;
pub mod state;
pub mod task;
pub mod text;

pub use metrics::{EvaluationLine, Line, Metrics, StepLine};
pub use resume::{Stopped, StoppedTask};
pub use schedule::Schedule;
pub use settings::{Layers, Length, Settings, Stage, TaskSettings};
pub use task::prepare::PreparedTask;
pub use task::{TaskSummary, finetune};
pub use text::evaluate::Evaluation;
pub use text::prepare::Prepared;
pub use text::{NoObserver, Observer, Summary, Trained, pretrain, resume};
