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
    /// Steps done after it: its checkpoint.
    pub step: u32,
    /// Its value of `best_by`, larger is better; `None` where that was undefined.
    pub value: Option<f64>,
}

/// state.json of a fine-tuning run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuningState {
    /// Steps done.
    pub step: u32,
    /// Optimizer updates done, AdamW's t.
    pub updates: u32,
    /// Epochs done, and examples of the next one.
    pub cursor: Cursor,
    /// The training examples.
    pub data: Identity,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Sum of the examples' losses in the epoch of the cursor.
    pub train_loss: f64,
    /// `None` before the end of the first epoch.
    pub best: Option<Best>,
    /// Whether the run has reached its end, by its epochs or by `patience`.
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
