//! What state.json of a run's checkpoint holds besides the checksums: with the files beside it, all that the next step
//! depends on.

use crate::data::corpus::Corpus;
use crate::data::data_loader::Cursor;
use crate::model::StepState;
use crate::store::{checksums, sha256};
use crate::train::settings::Stage;
use crate::train::text::prepare::Prepared;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// Where a run stood.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps done.
    pub step: u32,
    /// Updates done: AdamW's t.
    pub updates: u32,
    /// Steps of the whole run, as it was set up then.
    pub steps: u32,
    /// Windows done.
    pub cursor: Cursor,
    /// The text.
    pub data: Identity,
    /// What the run had taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Bytes of samples.txt.
    pub sampled: u64,
}

/// What a text is known again by.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its tokens, those held out included.
    pub tokens: u64,
    /// Of the lengths of documents and their ids.
    pub sha256: String,
}

impl Identity {
    /// That of a prepared run.
    pub fn of(run: &Prepared) -> Self {
        let parts = [&run.training, &run.held_out];
        // The ids in order, and where each document ends.
        let lengths = |corpus: &Corpus| -> Vec<u64> { corpus.iter().map(|ids| ids.len() as u64).collect() };
        let lengths = parts.map(lengths);
        let bytes = parts
            .iter()
            .zip(&lengths)
            .flat_map(|(corpus, lengths)| [bytemuck::cast_slice(lengths), bytemuck::cast_slice(corpus.tokens())]);
        Identity { tokens: lengths.iter().flatten().sum(), sha256: sha256::of(bytes) }
    }
}

/// The epoch that was best so far.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Steps done behind it: its checkpoint.
    pub step: u32,
    /// Its value of `best_by`, larger is better; none where that was not defined.
    pub value: Option<f64>,
}

/// Where a run on a task stood.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskState {
    /// Steps done.
    pub step: u32,
    /// Updates done: AdamW's t.
    pub updates: u32,
    /// Epochs done, and examples of the next one.
    pub cursor: Cursor,
    /// The examples to train on.
    pub data: Identity,
    /// What the run had taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Sum of the examples' losses in the epoch that the cursor is in.
    pub train_loss: f64,
    /// None before the first epoch's end.
    pub best: Option<Best>,
    /// Whether the run has come to its end, by its epochs or by patience.
    pub finished: bool,
}

/// What a kind of run remembers in state.json.
pub trait Stand: serde::Serialize + serde::de::DeserializeOwned {
    /// The kind of run.
    const STAGE: Stage;

    /// Steps done.
    fn step(&self) -> u32;

    /// Updates done.
    fn updates(&self) -> u32;

    /// The device's part.
    fn done(&self) -> StepState {
        StepState { step: self.step(), updates: self.updates() }
    }

    /// As state.json's keys.
    ///
    /// # Errors
    /// None that can come up: every value is a number or a text.
    fn to_keys(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(keys)) => Ok(keys),
            other => Err(Error::file(checksums::STATE, format!("{other:?}: expected keys"))),
        }
    }

    /// From the keys of a checkpoint's state.json.
    ///
    /// # Errors
    /// [`Error::Value`] naming the key.
    fn from_keys(keys: Map<String, Value>, folder: &Path) -> Result<Self> {
        serde_json::from_value(Value::Object(keys)).map_err(|e| Error::file(folder.join(checksums::STATE), e))
    }
}

impl Stand for RunState {
    const STAGE: Stage = Stage::Pretraining;

    fn step(&self) -> u32 {
        self.step
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}

impl Stand for TaskState {
    const STAGE: Stage = Stage::FineTuning;

    fn step(&self) -> u32 {
        self.step
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}
