//! The stage of a run, which determines its keys.

/// The stage of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Training on text.
    #[default]
    Pretraining,
    /// Training on the examples of a task.
    FineTuning,
}

impl Stage {
    /// The key that names the model to start from.
    pub fn model_key(self) -> &'static str {
        match self {
            Stage::Pretraining => "init",
            Stage::FineTuning => "model",
        }
    }

    /// The command of the program that trains such a run.
    pub(super) fn command(self) -> &'static str {
        match self {
            Stage::Pretraining => "pretrain",
            Stage::FineTuning => "finetune classify",
        }
    }
}
