//! Observers of a run. An observer cannot change the run's numbers.

use super::metrics::Line;
use std::path::Path;

/// The size of a run, before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The model and its data: "nano on input.txt".
    pub title: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// The unit in which data is counted: "tokens" or "examples".
    pub unit: &'static str,
    /// Training data, in units.
    pub training: usize,
    /// Validation data, in units.
    pub validation: usize,
    /// Steps of the run.
    pub steps: u32,
    /// Data per step, in units.
    pub batch: usize,
    /// Whether every step has exactly this much; if not, it is the most.
    pub batch_is_exact: bool,
}

/// Receives the events of a run. Every method does nothing by default.
pub trait Observer {
    /// The model is on the device; nothing is trained yet.
    fn started(&mut self, _run: &Description) {}
    /// The run continues from a checkpoint after `step` steps.
    fn resumed(&mut self, _step: u32, _checkpoint: &Path) {}
    /// A note for the user, before the run starts.
    fn noted(&mut self, _note: &str) {}
    /// A warning for the user.
    fn warned(&mut self, _warning: &str) {}
    /// A line was written to metrics.jsonl: a step, an evaluation, an epoch, or the result on the test examples.
    fn recorded(&mut self, _line: &Line) {}
    /// With several ranks: the targets per second of each rank over the last steps, without waiting for the others.
    fn measured(&mut self, _tokens_per_second: &[f64]) {}
    /// The model generated a sample after `step` steps.
    fn sampled(&mut self, _step: u32, _text: &str) {}
    /// A checkpoint was saved.
    fn saved(&mut self, _checkpoint: &Path) {}
    /// Called before every step: whether to stop the run there. A stopped run saves a checkpoint and can be resumed.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}
