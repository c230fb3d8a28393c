//! state.json of a fine-tuning run.

use crate::data::data_loader::Cursor;
use crate::train::settings::{Length, Settings};
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
    /// The mean loss on the validation examples, which decides between epochs whose metric is undefined.
    #[serde(default)]
    pub loss: Option<f64>,
}

impl Best {
    /// Whether this epoch is better than an earlier one. A metric that is defined is better than one that is not; the loss
    /// decides where both are undefined.
    pub fn is_better_than(&self, earlier: &Best) -> bool {
        match (self.value, earlier.value) {
            (Some(value), Some(earlier)) => value > earlier,
            (None, None) => match (self.loss, earlier.loss) {
                (Some(loss), Some(earlier)) => loss < earlier,
                (loss, None) => loss.is_some(),
                (None, Some(_)) => false,
            },
            (value, _) => value.is_some(),
        }
    }
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
    /// The checksum of the validation examples, which chose the best epoch so far; `None` in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Identity>,
    /// The checksum of the test examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Identity>,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Sum of the examples' losses in the epoch of the cursor.
    pub train_loss: f64,
    /// The best epoch; `None` before the end of the first epoch.
    pub best: Option<Best>,
    /// The number of epochs of the whole run, as set when the checkpoint was saved; `None` in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<Length>,
    /// The setting `patience` then; `None` in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Whether the run is complete, by its number of epochs or by `patience`.
    pub finished: bool,
}

impl RunState for FineTuningState {
    fn position(&self) -> Position {
        let FineTuningState { step, updates, cursor, data, elapsed_ms, .. } = self.clone();
        Position { step, updates, cursor, data, elapsed_ms, sampled: 0 }
    }

    fn is_complete(&self, settings: &Settings) -> bool {
        self.finished
            && self.length.is_none_or(|length| length == settings.length)
            && self.patience.is_none_or(|patience| patience == settings.task.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_decides_where_the_metric_is_undefined() {
        let best = |value, loss| Best { epoch: 1, step: 1, value, loss };
        for (now, earlier, is_better) in [
            (best(Some(0.5), Some(2.0)), best(Some(0.4), Some(1.0)), true),
            (best(Some(0.4), Some(1.0)), best(Some(0.4), Some(2.0)), false),
            (best(None, Some(1.0)), best(None, Some(2.0)), true),
            (best(None, Some(2.0)), best(None, Some(2.0)), false),
            (best(None, Some(1.0)), best(Some(-0.9), Some(9.0)), false),
            (best(Some(-0.9), Some(9.0)), best(None, Some(1.0)), true),
            (best(None, Some(1.0)), best(None, None), true),
        ] {
            assert_eq!(now.is_better_than(&earlier), is_better, "{now:?} {earlier:?}");
        }
        let old: Best = serde_json::from_str(r#"{"epoch": 2, "step": 8, "value": null}"#).expect("of an older version");
        assert_eq!(old, Best { epoch: 2, step: 8, value: None, loss: None });
    }
}
