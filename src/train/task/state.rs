//! state.json of a fine-tuning run.

use crate::data::data_loader::Cursor;
use crate::train::state::{Identity, Position, RunState};
use serde::{Deserialize, Serialize};

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Steps done at its end, which name its checkpoint.
    pub step: u32,
    /// The metric `best_by`, negated for a loss, so that larger is better; `None` when it was undefined.
    pub value: Option<f64>,
}

/// state.json of a fine-tuning run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuningState {
    /// Steps done.
    pub step: u32,
    /// Updates of the weights, the t of AdamW.
    pub updates: u32,
    /// Epochs done, and examples consumed of the next one.
    pub cursor: Cursor,
    /// The checksum of the training examples.
    pub data: Identity,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Sum of the examples' losses in the epoch of the cursor.
    pub train_loss: f64,
    /// The best epoch; `None` before the end of the first epoch.
    pub best: Option<Best>,
    /// Whether the run is complete, by its number of epochs or by `patience`.
    pub finished: bool,
}

impl RunState for FineTuningState {
    fn position(&self) -> Position {
        let FineTuningState { step, updates, cursor, data, elapsed_ms, .. } = self.clone();
        Position { step, updates, cursor, data, elapsed_ms, sampled: 0 }
    }

    fn is_complete(&self) -> bool {
        self.finished
    }
}
