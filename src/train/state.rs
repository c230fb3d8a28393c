//! state.json of a checkpoint. Together with the other files of the checkpoint it holds all that the next step depends on.

use super::settings::Settings;
use crate::data::data_loader::Cursor;
use crate::model::StepState;
use crate::store::checksums;
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

/// A position in a run: the part of state.json that every objective has.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Steps done.
    pub step: u32,
    /// Updates of the weights, the t of AdamW. A step without targets does not update them.
    pub updates: u32,
    /// The data consumed so far.
    pub cursor: Cursor,
    /// The checksum of the training data.
    pub data: Identity,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Length of samples.txt, in bytes.
    pub sampled: u64,
}

impl Position {
    /// The part of the position that the recorded programs depend on.
    pub fn progress(&self) -> StepState {
        StepState { step: self.step, updates: self.updates }
    }
}

/// The checksum by which training data is recognized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Number of tokens, the held-out ones included.
    pub tokens: u64,
    /// SHA-256 of the sequences: their lengths and ids.
    pub sha256: String,
}

/// The contents of state.json, apart from the checksums.
pub trait RunState: Serialize + DeserializeOwned {
    /// The position in the run.
    fn position(&self) -> Position;

    /// Whether the run had reached the end that these settings give it. They may differ from those that the state was saved
    /// with: a process may have ended after it made the run longer and before its first checkpoint.
    fn is_complete(&self, settings: &Settings) -> bool;

    /// Steps of the whole run as planned when the state was saved; `None` when the state does not record them.
    fn planned_steps(&self) -> Option<u32> {
        None
    }

    /// The keys and values of state.json.
    ///
    /// # Errors
    /// None in practice: every value can be written as JSON.
    fn to_keys(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(keys)) => Ok(keys),
            other => Err(Error::file(checksums::STATE, format!("{other:?}")).expected("must be an object")),
        }
    }

    /// Reads the state from the keys and values of a checkpoint's state.json.
    ///
    /// # Errors
    /// [`Error::File`] naming the key.
    fn from_keys(keys: Map<String, Value>, folder: &Path) -> Result<Self> {
        serde_json::from_value(Value::Object(keys)).map_err(|e| Error::file(folder.join(checksums::STATE), e))
    }
}
