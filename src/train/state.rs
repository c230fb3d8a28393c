//! state.json of a checkpoint: with the files beside it, all that the next update depends on.

use crate::data::data_loader::Cursor;
use crate::model::StepState;
use crate::store::checksums;
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

/// A position in a run: what every objective's state has.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Steps done.
    pub step: u32,
    /// Optimizer updates done, AdamW's t. A step without targets is none.
    pub updates: u32,
    /// The data consumed.
    pub cursor: Cursor,
    /// The training data.
    pub data: Identity,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Bytes of samples.txt.
    pub sampled: u64,
}

impl Position {
    /// The part of it that the device's programs depend on.
    pub fn progress(&self) -> StepState {
        StepState { step: self.step, updates: self.updates }
    }
}

/// What training data is recognized by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its tokens, those held out included.
    pub tokens: u64,
    /// Checksum of its sequences: their lengths and ids.
    pub sha256: String,
}

/// The contents of state.json, apart from the checksums.
pub trait RunState: Serialize + DeserializeOwned {
    /// The position.
    fn position(&self) -> Position;

    /// Whether the run had reached its end.
    fn is_complete(&self) -> bool;

    /// Steps of the whole run as planned then, where the state records it.
    fn planned_steps(&self) -> Option<u32> {
        None
    }

    /// As keys of state.json.
    ///
    /// # Errors
    /// None in practice: every value is a number or a text.
    fn to_keys(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(keys)) => Ok(keys),
            other => Err(Error::file(checksums::STATE, format!("{other:?}")).expected("expected keys")),
        }
    }

    /// From the keys of a checkpoint's state.json.
    ///
    /// # Errors
    /// [`Error::File`] naming the key.
    fn from_keys(keys: Map<String, Value>, folder: &Path) -> Result<Self> {
        serde_json::from_value(Value::Object(keys)).map_err(|e| Error::file(folder.join(checksums::STATE), e))
    }
}
