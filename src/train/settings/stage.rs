//! What a run trains on, which decides the keys that it has.

/// What a run does: which keys it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Trains on text.
    #[default]
    Pretraining,
    /// Trains on a task's examples.
    FineTuning,
}

impl Stage {
    /// The key that names the model to begin with.
    pub(in crate::train) fn model_key(self) -> &'static str {
        match self {
            Stage::Pretraining => "init",
            Stage::FineTuning => "model",
        }
    }

    pub(super) fn command(self) -> &'static str {
        match self {
            Stage::Pretraining => "pretrain",
            Stage::FineTuning => "finetune classify",
        }
    }
}
