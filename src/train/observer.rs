//! Observers of a run. An observer cannot change the run's numbers.

use super::metrics::Line;
use std::path::Path;

/// A run in numbers, before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The model and its data: "nano on input.txt".
    pub title: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// What data is counted in: "tokens", "examples".
    pub unit: &'static str,
    /// Training data, in units.
    pub training: usize,
    /// Validation data, in units.
    pub validation: usize,
    /// Updates of the run.
    pub steps: u32,
    /// Data of an update, in units.
    pub batch: usize,
    /// Whether every update has exactly that much.
    pub batch_is_exact: bool,
}

/// Receives what happens in a run. Every method does nothing by default.
pub trait Observer {
    /// The model is on the device; nothing is trained yet.
    fn started(&mut self, _run: &Description) {}
    /// The run continues after `step` updates, from a checkpoint.
    fn resumed(&mut self, _step: u32, _checkpoint: &Path) {}
    /// A warning for the user.
    fn warned(&mut self, _warning: &str) {}
    /// A line of metrics.jsonl: an update, an evaluation, an epoch, the test examples.
    fn recorded(&mut self, _line: &Line) {}
    /// The model generated a sample after `step` updates.
    fn sampled(&mut self, _step: u32, _text: &str) {}
    /// A checkpoint was saved.
    fn saved(&mut self, _checkpoint: &Path) {}
    /// Called before every update: whether the run is to stop there. It then saves a checkpoint and can be resumed.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}
