//! A run: its settings, its learning rate, the lines it leaves behind.

mod clock;
pub mod evaluate;
pub mod finetune;
pub mod keys;
pub mod metrics;
pub mod options;
mod prefetch;
pub mod prepared;
pub mod prepared_task;
pub mod pretrain;
pub mod resume;
pub mod run_folder;
pub mod sample;
pub mod schedule;
pub mod settings;
pub mod state;
pub mod task_scores;
pub mod task_settings;
pub mod tokens;

pub use evaluate::Evaluation;
pub use finetune::{TaskSummary, finetune};
pub use keys::Stage;
pub use metrics::{EvaluationLine, Line, Metrics, StepLine};
pub use prepared::Prepared;
pub use prepared_task::PreparedTask;
pub use pretrain::{Nobody, Observer, Summary, Trained, pretrain, resume};
pub use resume::{Stopped, StoppedTask};
pub use schedule::Schedule;
pub use settings::{Layers, Length, Settings};
pub use task_settings::TaskSettings;
